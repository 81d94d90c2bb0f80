"""The fields of a task file that say what it runs in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import PlainValidator

from coordinator.core import spec as core
from coordinator.spec.container import check_entrypoint, check_image, check_python, check_registry_auth, filled
from coordinator.spec.fields import Fields, plain_text, text_of

Image = Annotated[str, PlainValidator(lambda value: check_image(plain_text("image", value)))]
Entrypoint = Annotated[str, PlainValidator(lambda value: check_entrypoint(plain_text("entrypoint", value)))]
Python = Annotated[str, PlainValidator(lambda value: check_python(text_of(value)))]


class RegistryAuth(Fields):
    """``registry_auth``: what is written, in which ``${{ env.NAME }}`` is not filled in yet."""

    username: Annotated[str, PlainValidator(text_of)]
    password: Annotated[str, PlainValidator(text_of)]

    def filled(self, variables: Mapping[str, str], environ: Mapping[str, str]) -> core.RegistryAuth:
        """Who fetches the image. Raises ``Wrong``."""
        found = (filled(text, variables, environ) for text in (self.username, self.password))
        return check_registry_auth(core.RegistryAuth(*found))
