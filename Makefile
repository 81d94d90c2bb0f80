# `make demo` runs the main job on this machine; `make test` passes the tests; `make check` holds the code to its rules.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/rallypoint/v1/*.proto)

.PHONY: demo test check bench protos format clean

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

protos: $(BIN)/.installed
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=protos --grpc_python_out=protos \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --mypy_out=quiet:protos --mypy_grpc_out=quiet:protos $(PROTOS)
