"""Rules for what a task runs in: an image and who fetches it, or a version of Python."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from coordinator.core.interpolation import fill
from coordinator.core.spec import JobSpec, RegistryAuth
from coordinator.spec.problems import Wrong

# A registry with a port, a path, a tag, a digest. Whatever else is wrong with it the registry will say.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}")
_PYTHON = re.compile(r"3\.[0-9]{1,2}(\.[0-9]{1,3})?")
_REFERENCE = re.compile(r"\$\{\{\s*(?P<space>[A-Za-z_]+)\.(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_MAX_SECRET = 64 * 1024


def check_image(image: str) -> str:
    """The name of an image. Raises ``Wrong``."""
    if not _IMAGE.fullmatch(image):
        raise Wrong(f"image {image!r} is no image's name; write for example nvidia/cuda:12.8.1-base-ubuntu24.04")
    return image


def check_entrypoint(entrypoint: str) -> str:
    """Words of a program, as a shell would split them. Raises ``Wrong``."""
    try:
        words = [] if "\0" in entrypoint else shlex.split(entrypoint)
    except ValueError as error:
        raise Wrong(f"entrypoint {entrypoint!r} can't be split into words ({error}); close the quotes") from None
    if not words:
        raise Wrong("entrypoint names no program; write for example /usr/bin/env, or leave it out")
    return entrypoint


def check_python(version: str) -> str:
    """A version of Python. Raises ``Wrong``."""
    if not _PYTHON.fullmatch(version):
        raise Wrong(f"python {version!r} is not a version; write for example 3.12")
    return version


def check_registry_auth(auth: RegistryAuth) -> RegistryAuth:
    """Who fetches an image; the password is never in what is said. Raises ``Wrong``."""
    for what, text in (("username", auth.username), ("password", auth.password)):
        if not text or len(text) > _MAX_SECRET or any(ord(letter) < 32 for letter in text):
            raise Wrong(
                f"registry_auth: its {what} is empty, too long, or holds a line break; write it on one line, or as"
                " ${{ env.NAME }}"
            )
    if ":" in auth.username:
        raise Wrong("registry_auth: its username holds a ':', which registries take for its end; remove it")
    return auth


def filled(text: str, variables: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """A name or password with each ``${{ env.NAME }}`` replaced: by the task's own variable, or the caller's.

    Raises:
        Wrong: there is none, or something else is referred to.
    """

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if match["space"] != "env":
            raise Wrong(f"'{match[0]}' is not supported yet; write ${{{{ env.{name} }}}} and export {name}")
        if name in variables:
            return fill(variables[name], {})
        if name not in environ:
            raise Wrong(f"'{match[0]}' is not set in your environment; export {name} before you submit")
        return environ[name]

    return _REFERENCE.sub(value, text)


def misplaced(spec: JobSpec) -> list[tuple[str, str]]:
    """Fields that make no sense without an image, or beside it, each with what to do about it."""
    wrong = []
    if spec.image is None:
        for field, given, instead in (
            ("registry_auth", spec.registry_auth is not None, "remove it"),
            ("entrypoint", spec.entrypoint is not None, "write its program into 'commands'"),
            ("privileged", spec.privileged, "tasks without one have the host's own devices; remove it"),
        ):
            if given:
                wrong.append((field, f"{field} is for tasks with an 'image'; {instead}, or name an image"))
    elif spec.python is not None:
        text = "image and python exclude each other; the image has its own Python, or none; keep one of them"
        wrong.append(("python", text))
    if spec.entrypoint is not None and spec.shell is not None:
        wrong.append(("shell", "with an entrypoint no shell runs the commands: they are its arguments; keep one"))
    return wrong
