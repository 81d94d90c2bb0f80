# `make demo` runs the main job on this machine; `make test` passes the tests; `make check` holds the code to its rules.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
PROTOS := $(wildcard protos/rallypoint/v1/*.proto)
PROTOC := $(BIN)/python -m grpc_tools.protoc -I protos --python_out=protos --grpc_python_out=protos \
  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
  --mypy_out=quiet:protos --mypy_grpc_out=quiet:protos

# Most tests wait for other processes most of the time: two at once take little more than half as long.
JOBS ?= 2

.PHONY: help demo test check test-images bench bench-peers protos format clean

help:
	@echo "make demo    run the main job on this machine: a coordinator, three agents, two jobs"
	@echo "make test    pass the tests (those whose system parts are missing are skipped, with the reason)"
	@echo "make check   ruff, mypy, import-linter, buf, stubs up to date"
	@echo "make test-images  build the container files with podman, and run a job between the containers"
	@echo "make bench   measure: latency, throughput, memory"
	@echo "make bench-peers  short nodes a second, beside HyperQueue and Parsl"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Rallypoint needs Python 3.11 or newer, and '$(PYTHON)' is older: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml
	@echo "installing Rallypoint into $(VENV) …"
	@$(PIP) -e '.[examples]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	@echo "installing Rallypoint and what its tests need into $(VENV) …"
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python deploy/demo.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not bench and not images" -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Takes minutes, and packages for a wheelhouse.
test-images: $(VENV)/.dev
	$(BIN)/python -m pytest -m images tests/scenarios/test_container_files.py

bench: $(VENV)/.dev
	$(BIN)/python -m pytest -m bench -s tests/bench

# RALLYPOINT_BENCH_PEERS: the interpreter of another environment, in which the peers are installed.
bench-peers: $(VENV)/.dev
	$(BIN)/python -m pytest -m bench -s tests/bench/test_peer.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint
	$(PROTOC) $(PROTOS)
	@git diff --exit-code -- protos/rallypoint/v1 || { echo "stubs differ from the protos: run 'make protos' and commit" >&2; exit 1; }

protos: $(VENV)/.dev
	$(PROTOC) $(PROTOS)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
