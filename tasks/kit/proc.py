"""The one door to other programs: argv without a shell, an environment from nothing, and a purpose that a failure can tell."""

import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tasks.kit.fault import Fault, HostFault, ToolFault

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "TMPDIR",
)  # what a user's site needs and no output depends on
PIPE, STDOUT = subprocess.PIPE, subprocess.STDOUT  # for those who `spawn`
Process = subprocess.Popen[bytes]
FULL = "No space left on device"  # strerror(ENOSPC), as every program prints it
ROOM = "make room on the disk, or in memory, where root file systems are put together"
EVIDENCE = 20  # lines of a program's output that a fault quotes

# Whatever happens to us, our children must not outlive us: the kernel kills them when their parent thread dies.
TIED = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(frozen=True)
class Command:
    """A program to run, and to what end: "could not <purpose>" is how its failure begins."""

    argv: tuple[str, ...]
    purpose: str
    stdin: str | bytes | Path = b""
    env: Mapping[str, str] = field(default_factory=dict)


def tool(name: str) -> str | None:
    """Where a program lies, or None."""
    return shutil.which(name, path=PATH)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        "PATH": PATH,
        "HOME": "/",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "TERM": "dumb",
        **passed,
        **extra,
    }


def spawn(command: Command, *, stdin: int, stdout: int, stderr: int) -> Process:
    """Start a program that dies with us. Raises HostFault when it is not installed."""
    for name in (TIED[0], command.argv[0]):
        if tool(name) is None:
            raise HostFault(
                f"{name} is not installed; it is needed to {command.purpose}",
                hint="doit host --install",
            )
    return subprocess.Popen(
        TIED + command.argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(command.env),
        umask=0o022,  # or a folder of an image would be as private as its builder's own
    )


def run(command: Command, *, log: Path | None = None, seen: Callable[[str], None] | None = None) -> None:
    """Run to the end; every line of output goes to `log` and to `seen` as it comes. Raises ToolFault unless it ends with 0."""
    tail: deque[str] = deque(maxlen=EVIDENCE)
    with _input(command) as source, _output(log) as sink:
        process = spawn(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None  # noqa: S101 - it was asked for one line above
        try:
            for raw in process.stdout:
                os.write(sink, raw)
                line = raw.decode(errors="replace").rstrip()
                tail.append(line)
                if seen:
                    seen(line)
            process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()
    if process.returncode:
        raise failure(command, process.returncode, tuple(tail), log)


def ask(command: Command, *, timeout: float | None = None) -> str:
    """What a program answers on its standard output. Raises ToolFault unless it ends with 0, within `timeout` seconds."""
    with _input(command) as source:
        process = spawn(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise ToolFault(
                f"could not {command.purpose}: {command.argv[0]} gave no answer within {timeout:.0f} s",
                where=" ".join(command.argv),
            ) from None
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode:
        lines = err.decode(errors="replace").splitlines()[-EVIDENCE:]
        raise failure(command, process.returncode, tuple(lines), None)
    return out.decode(errors="replace")


def interact(command: Command) -> int:
    """Run on our own terminal, or on whatever our input and output are. Its exit code; below zero, the signal that ended it."""
    env = {"TERM": os.environ.get("TERM", "dumb"), **command.env}
    process = spawn(replace(command, env=env), stdin=0, stdout=1, stderr=2)
    try:
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


def failure(command: Command, status: int, tail: tuple[str, ...], log: Path | None) -> Fault:
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
    where, whole = " ".join(command.argv), f"the whole output is in {log}" if log else ""
    if any(FULL in line for line in tail):
        return HostFault(
            f"could not {command.purpose}: no space is left", evidence=tail, where=where, hint=ROOM
        )
    problem = f"could not {command.purpose}: {command.argv[0]} {how}"
    return ToolFault(problem, evidence=tail, where=where, hint=whole)


@contextmanager
def _input(command: Command) -> Iterator[int]:
    """The command's standard input as a descriptor: a file of its own, text by way of memory, or nothing at all."""
    if isinstance(command.stdin, Path) or not command.stdin:
        handle = os.open(command.stdin or os.devnull, os.O_RDONLY)
    else:
        handle = os.memfd_create("stdin")
        with open(handle, "wb", closefd=False) as file:
            file.write(command.stdin.encode() if isinstance(command.stdin, str) else command.stdin)
        os.lseek(handle, 0, os.SEEK_SET)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _output(log: Path | None) -> Iterator[int]:
    """The log, open for appending, or nowhere."""
    handle = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | (os.O_CREAT if log else 0), 0o644)
    try:
        yield handle
    finally:
        os.close(handle)


def detach(command: Command, *, log: Path) -> int:
    """Start a program that outlives us, in a session of its own, its output at the end of `log`. Its process id."""
    if tool(command.argv[0]) is None:
        raise HostFault(
            f"{command.argv[0]} is not installed; it is needed to {command.purpose}",
            hint="doit host --install",
        )
    log.parent.mkdir(parents=True, exist_ok=True)
    with _input(command) as source, _output(log) as sink:
        return os.posix_spawn(
            command.argv[0],
            command.argv,
            environment(command.env),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, handle, number)
                for number, handle in enumerate((source, sink, sink))
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
        )
