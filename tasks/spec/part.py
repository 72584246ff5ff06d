"""The base of every value that was validated once, at the border, and is frozen after."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    # Built when first used: a run with nothing to do validates a third of what is defined.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
