"""Messages as JSON values, in the one shape that the web page's JSON has too: the protocol's field names, enumerations
as lower-case words (``"running"``), whole numbers as numbers. What is unknown, not given or has not come to pass is
null: a message has no other word for it than an absent field, an empty text, or the time 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message


def plain(part: object) -> Any:
    """A message, or a list of them, as dictionaries; anything else as it is."""
    from google.protobuf.message import Message

    if isinstance(part, Message):
        return _message(part)
    if isinstance(part, list | tuple):
        return [plain(each) for each in part]
    return part


def _message(message: Message) -> dict[str, Any]:
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)  # As users wrote it: an empty text is one there.
    if field.is_repeated:
        return [_value(field, each) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    if value == "" or (value == 0 and field.name.endswith("_at")):
        return None
    return _value(field, value)


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _message(value)
    if field.enum_type is not None:
        return _word(field, value)
    return value


def _word(field: Any, number: int) -> str:
    """``JOB_STATE_RUNNING`` as ``running``; a number that this release does not know as ``unspecified``."""
    values = field.enum_type.values_by_number
    name: str = (values.get(number) or values[0]).name
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return name.removeprefix(prefix).lower().replace("_", "-")
