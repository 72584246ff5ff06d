"""What several processes of one test run share, because it takes minutes to make."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tasks.kit.lock import alone

Made = TypeVar("Made")


def once(space: Path, name: str, make: Callable[[], Made]) -> Made:
    """What `make` returns: made by whoever asks first, while the others wait."""
    kept = space / f"{name}.made" / "value"
    kept.parent.mkdir(exist_ok=True)
    with alone(kept.parent):
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make()))
    made: Made = pickle.loads(kept.read_bytes())  # noqa: S301 - our own, of this run
    return made
