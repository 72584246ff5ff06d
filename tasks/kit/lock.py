"""One run at a time: a lock that the kernel lets go of when its holder dies, however it dies."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tasks.kit.fault import HostFault


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """In a folder, one at a time: waits for whoever is in such a block with the same one."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def hold(path: Path) -> int:
    """Take the lock, until this process ends or the returned descriptor is closed. Raises HostFault with who holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 4096)
        os.close(handle)
        raise HostFault(
            f"another run is at work: {_who(holder)}", where=str(path), hint="wait for it, or end it"
        ) from None
    said = {
        "pid": os.getpid(),
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "command": sys.argv,
    }
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(said).encode(), 0)
    return handle


def _who(said: bytes) -> str:
    try:
        holder = json.loads(said)
        return f"process {holder['pid']}, since {holder['since']}: {' '.join(holder['command'])}"
    except (ValueError, KeyError, TypeError):
        return "it has not said who it is yet"
