"""Kinds of values that several parts of the configuration share."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from tasks.spec.units import size

# For editors it is what a person writes; for us, a number of bytes.
Size = Annotated[
    int,
    BeforeValidator(size),
    Field(json_schema_extra={"type": "string", "pattern": r"^\d+ ?(B|KiB|MiB|GiB|TiB)$"}),
]
Word = Annotated[str, Field(pattern=r"^[!-~]+$")]  # printable ASCII without spaces
