"""Stop the local cloud. It forgets what it held: the next run uploads and registers again.

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
