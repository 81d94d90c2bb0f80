"""How records become JSON and back.

Each record's stored keys are named in one table, with how each is written and read. Reading forgives: a missing key
takes the record's default and an unknown one is passed over, so that an older database loads. ``FORMAT`` rises when
the meaning of a key changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from coordinator.store.api import StoreError, StoreTooNew

FORMAT = 1
_FORMAT_KEY = "format"

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Form:
    """How one field is written to JSON and read back; ``None`` stays None."""

    write: Callable[[Any], Any] = lambda value: value
    read: Callable[[Any], Any] = lambda value: value


PLAIN = Form()
TUPLE = Form(list, tuple)
TEXT_MAP = Form(dict, lambda doc: MappingProxyType(dict(doc)))


def choice(kind: type[Enum]) -> Form:
    """A field of an enumeration, stored by value."""
    return Form(lambda member: member.value, kind)


@dataclass(frozen=True, slots=True)
class Shape(Generic[R]):
    """The stored keys of one record."""

    make: type[R]
    fields: Mapping[str, Form]

    def write(self, record: R) -> dict[str, Any]:
        """The record as a JSON object."""
        values = ((key, form, getattr(record, key)) for key, form in self.fields.items())
        return {key: None if value is None else form.write(value) for key, form, value in values}

    def read(self, doc: Mapping[str, Any]) -> R:
        """The record again; keys that are missing take its defaults."""
        known = ((key, self.fields[key], value) for key, value in doc.items() if key in self.fields)
        return self.make(**{key: None if value is None else form.read(value) for key, form, value in known})

    @property
    def one(self) -> Form:
        """The form of a field that holds such a record."""
        return Form(self.write, self.read)

    @property
    def many(self) -> Form:
        """The form of a field that holds a tuple of such records."""
        return Form(lambda items: [self.write(item) for item in items], lambda docs: tuple(self.read(d) for d in docs))

    def dumps(self, record: R) -> str:
        """JSON text of the record, marked with the format's number."""
        return json.dumps({_FORMAT_KEY: FORMAT, **self.write(record)}, separators=(",", ":"))

    def loads(self, text: str) -> R:
        """Read what ``dumps`` wrote. Raises StoreTooNew for a later format, StoreError for text that is none."""
        try:
            doc = json.loads(text)
            written = doc.get(_FORMAT_KEY, 1)
            if written <= FORMAT:
                return self.read(doc)
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"a stored {self.make.__name__} can't be read ({error}); restore a backup") from error
        name = self.make.__name__
        raise StoreTooNew(f"a stored {name} has format {written}, this release knows {FORMAT}; run a newer release")
