"""Stop the local cloud. What it holds stays in its folder; its instances are off until it is started again.

In:    the cloud's own state file
Out:   nothing that stays
Needs: nothing
"""

import sys
from pathlib import Path

from tasks.cloud import local
from tasks.spec.part import Part


class Order(Part):
    """There is nothing to know."""


def body(_: Order, *, home: Path) -> None:
    sys.stdout.write(
        "the local cloud is stopped\n" if local.stop(home) else "no local cloud was running\n"
    )
