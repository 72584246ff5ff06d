"""The door of the local cloud: finds the server, starts it when there is none, stops it.

The server is a process of its own that outlives us. Once it can answer it writes a state file, which says who it is; it
ends when that file is gone or names another. A process is told from a later one with the same number by the time the
kernel says it started; a server is told from another by its id. The cloud is the folder: it keeps its own id, whichever
server opens it. boto3 is not imported here: `forgotten` is asked on every run of doit, and must cost next to nothing.
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
from urllib.parse import urlsplit

from tasks.kit.fault import CloudFault
from tasks.kit.proc import EVIDENCE, Command, detach
from tasks.spec.cloud import LOCAL_ACCOUNT, LOCAL_REGION

HOST = "127.0.0.1"
CONTROL = "/doit-ami/"  # what begins so is no bucket: their names have no such slash behind them
HEALTH, FAULTS, SETTINGS = f"{CONTROL}health", f"{CONTROL}faults", f"{CONTROL}settings"
PATIENCE = 30.0  # seconds for a server to come up: 1 to 2 as measured, far more on a loaded machine with cold caches
GRACE = 5.0  # seconds for a server to end when asked to
STEP = 0.02  # seconds between two looks
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Endpoint:
    """A running local cloud. `id` is the folder's: another one holds other things."""

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
    id: str  # new with every start
    cloud: str  # the cloud's own
    home: str  # a folder that was copied is another one's

    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://{HOST}:{self.port}", LOCAL_ACCOUNT, LOCAL_REGION, self.cloud)


def state_file(home: Path) -> Path:
    return home / "cloud.json"


def log_file(home: Path) -> Path:
    return home / "cloud.log"


def id_file(home: Path) -> Path:
    """For those who only look; the database has it, too."""
    return home / "cloud.id"


def database(home: Path) -> Path:
    return home / "cloud.sqlite"


def exists(home: Path) -> bool:
    """Whether there is a cloud to look at, running or not."""
    return database(home).exists()


def running(home: Path) -> Endpoint | None:
    """The local cloud of `home`, if its process lives."""
    state = read(home)
    return state.endpoint() if state and alive(state) else None


def forgotten(receipt: Path, home: Path) -> bool:
    """Whether `receipt` tells of something in a local cloud that is not there any more. Of AWS, never."""
    try:
        held_by = json.loads(receipt.read_text())["cloud_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(held_by) and held_by != known(home)


def known(home: Path) -> str:
    """The id of the cloud in `home`; "" when there is none."""
    try:
        return id_file(home).read_text().strip() if exists(home) else ""
    except OSError:
        return ""


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
    """End the server of `home`; what it holds stays. False if there was none."""
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
        env={"PYTHONPATH": str(ROOT)},
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
        pid, started, port = (int(said[name]) for name in ("pid", "started", "port"))
        state = State(pid, started, port, str(said["id"]), str(said["cloud"]), str(said["home"]))
        return state if state.home == str(home.absolute()) else None
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


def control(home: Path, path: str, value: object) -> object:
    """Tell the running cloud what is no part of AWS: faults to order, settings. What it has now. Raises CloudFault when it refuses."""
    import http.client

    there = endpoint(home)
    connection = http.client.HTTPConnection(urlsplit(there.url).netloc, timeout=5)
    try:
        connection.request("POST", path, json.dumps(value))
        reply = connection.getresponse()
        said = reply.read().decode()
    finally:
        connection.close()
    if reply.status != http.client.OK:
        raise CloudFault(f"the local cloud refused that: {said.strip()}", where=there.url)
    return json.loads(said)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """One starter at a time; the kernel frees the lock of one that is killed."""
    handle = os.open(home / "cloud.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
