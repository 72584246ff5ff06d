"""The door of the local cloud: finds the server, starts it when there is none, stops it.

The server is a process of its own that outlives us. Once it can answer it writes a state file, which says who it is; it
ends when that file is gone or names another. A process is told from a later one with the same number by the time the
kernel says it started; a server is told from another by its id. Neither boto3 nor moto is imported here: `running` is
asked on every run of doit, and must cost next to nothing.
"""

import fcntl
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.kit.fault import CloudFault
from tasks.kit.proc import EVIDENCE, Command, detach
from tasks.spec.cloud import LOCAL_ACCOUNT, LOCAL_REGION

HOST = "127.0.0.1"
HEALTH = "/doit-ami/health"
PATIENCE = 30.0  # seconds for a server to come up: 1 to 2 as measured, far more on a loaded machine with cold caches
GRACE = 5.0  # seconds for a server to end when asked to
STEP = 0.02  # seconds between two looks
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Endpoint:
    """A running local cloud. `id` is new with every start: what another one held is forgotten."""

    url: str
    account: str
    region: str
    id: str


@dataclass(frozen=True)
class State:
    """What the server says of itself."""

    pid: int
    started: int  # clock ticks after boot
    port: int
    id: str

    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://{HOST}:{self.port}", LOCAL_ACCOUNT, LOCAL_REGION, self.id)


def state_file(home: Path) -> Path:
    return home / "cloud.json"


def log_file(home: Path) -> Path:
    return home / "cloud.log"


def running(home: Path) -> Endpoint | None:
    """The local cloud of `home`, if its process lives."""
    state = read(home)
    return state.endpoint() if state and alive(state) else None


def forgotten(receipt: Path, home: Path) -> bool:
    """Whether `receipt` tells of something that a local cloud held which is no more. Of AWS, never."""
    try:
        held_by = json.loads(receipt.read_text())["cloud_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    state = read(home) if held_by else None
    return bool(held_by) and (state is None or state.id != held_by or not alive(state))


def endpoint(home: Path) -> Endpoint:
    """The local cloud of `home`, started if need be."""
    state = read(home)
    if state and alive(state) and answers(state):
        return state.endpoint()
    home.mkdir(parents=True, exist_ok=True)
    with locked(home):
        state = read(home)
        if state and alive(state):
            if answers(state):
                return state.endpoint()
            end(state)
        return start(home).endpoint()


def stop(home: Path) -> bool:
    """End the local cloud of `home`, and all it holds. False if there was none."""
    if not home.is_dir():
        return False
    with locked(home):
        state = read(home)
        state_file(home).unlink(missing_ok=True)
        return state is not None and end(state)


def start(home: Path) -> State:
    state_file(home).unlink(missing_ok=True)  # a server that still heeds the old one ends now
    name = secrets.token_hex(8)
    command = Command(
        (sys.executable, "-P", "-m", "tasks.cloud.local.server", str(home.absolute()), name),
        "run the local cloud",
        env={
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(home.absolute()),  # objects lie here, in files without a name
            "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",  # 1301 images of Amazon's, 120 MB, that nobody asks for
            "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "65536",  # larger objects go to the disk, not into memory
            "MALLOC_MMAP_THRESHOLD_": "262144",  # and what memory they pass through goes back to the kernel
        },
    )
    log = log_file(home)
    log.unlink(missing_ok=True)
    pid = detach(command, log=log)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        state = read(home)  # ours, or that of a starter killed a moment ago: ours ends then
        if state and alive(state) and answers(state):
            return state
        if start_time(pid) is None:
            break
        time.sleep(STEP)
    raise CloudFault(
        "the local cloud did not start",
        evidence=log.read_text(errors="replace").splitlines()[-EVIDENCE:] if log.exists() else (),
        where=str(log),
        hint="read what it says there, then run doit again",
    )


def end(state: State) -> bool:
    """Ask the server to end, then make it. Nothing else is ever hit: a pidfd cannot come to mean another process."""
    try:
        handle = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_server(state):
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            if alive(state):
                signal.pidfd_send_signal(handle, number)
            deadline = time.monotonic() + GRACE
            while alive(state) and time.monotonic() < deadline:
                time.sleep(STEP)
    except ProcessLookupError:  # it ended before it was asked
        pass
    finally:
        os.close(handle)
    return True


def is_server(state: State) -> bool:
    """Whether the process bears the server's id on its command line."""
    try:
        words = Path(f"/proc/{state.pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return alive(state) and state.id.encode() in words


def read(home: Path) -> State | None:
    """What the state file says, if it can be read."""
    try:
        said = json.loads(state_file(home).read_bytes())
        return State(int(said["pid"]), int(said["started"]), int(said["port"]), str(said["id"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def alive(state: State) -> bool:
    return start_time(state.pid) == state.started


def start_time(pid: int) -> int | None:
    """When a living process began (proc(5), field 22 of stat), or None: there is none, or only its corpse."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # a program's name may hold anything, but no ')' follows it
    return None if fields[0] in "ZX" else int(fields[19])


def answers(state: State) -> bool:
    """Whether the server there is the one that the state file means."""
    import http.client

    connection = http.client.HTTPConnection(HOST, state.port, timeout=5)
    try:
        connection.request("GET", HEALTH)
        return connection.getresponse().read().decode(errors="replace") == state.id
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """One starter at a time; the kernel frees the lock of one that is killed."""
    handle = os.open(home / "cloud.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
