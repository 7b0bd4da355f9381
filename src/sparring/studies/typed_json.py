"""JSON of a study's small files as dataclasses, every value checked."""

from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

Kind = TypeVar("Kind")


def from_json(kind: type[Kind], content: bytes | str) -> Kind:
    """The value of this type that JSON holds; lists become tuples where the type says so.

    Args:
        kind: dataclass, or a tuple of them.
        content: of a file.

    Raises:
        ValueError: in one line, if it is no JSON or a value is of another kind.
    """
    try:
        return cast("Kind", _adapter(cast("Any", kind)).validate_json(content, strict=True))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
