"""A private world for everything that mounts, chroots or runs somebody else's scripts.

Mount, process, host name, IPC and (unless asked for) network namespaces, and a user namespace as well when we are not
root. Nothing done inside is seen outside, and when the holder dies, however it dies, the kernel takes it all down:
every process, every mount.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.kit.fault import HostFault
from tasks.kit.proc import PIPE, STDOUT, Command, ask, run, spawn

OWN = ("--mount", "--pid", "--uts", "--ipc")
# The host's nodes that a package's scripts may rely on.
NODES = ("full", "null", "random", "tty", "urandom", "zero")
# As a user: root inside is us outside, and the sub-ids of /etc/subuid are everybody else.
MAPPED = ("--map-root-user", "--map-auto")


@dataclass(frozen=True)
class Sandbox:
    """Runs commands inside, from its root: paths must be absolute. `process` is its first one, as seen from outside."""

    process: int
    flags: tuple[str, ...]
    log: Path | None

    def run(self, command: Command, *, seen: Callable[[str], None] | None = None) -> None:
        run(self.inside(command), log=self.log, seen=seen)

    def ask(self, command: Command) -> str:
        return ask(self.inside(command))

    def inside(self, command: Command) -> Command:
        return replace(
            command, argv=("nsenter", "--target", str(self.process), *self.flags, "--", *command.argv)
        )


@contextmanager
def sandbox(*, log: Path | None = None, network: bool = False) -> Iterator[Sandbox]:
    """Raises HostFault where the kernel, or the lack of sub-ids, does not allow one."""
    own = OWN if network else (*OWN, "--net")
    user = os.geteuid() != 0
    holder = Command(
        (
            "unshare",
            *(MAPPED if user else ()),
            *own,
            *("--fork", "--kill-child", "--mount-proc", "--propagation", "private"),
            # Lives for as long as we hold the other end of its standard input.
            *("sh", "-c", "echo ready && exec cat"),
        ),
        "make a sandbox",
    )
    process = spawn(holder, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
    assert process.stdin is not None  # noqa: S101 - both were asked for one line above
    assert process.stdout is not None  # noqa: S101
    try:
        said = process.stdout.readline()
        if said != b"ready\n":
            raise _refused(said + process.stdout.read())
        first = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
        yield Sandbox(int(first), ("--user", *own) if user else own, log)
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def _refused(said: bytes) -> HostFault:
    hint = (
        "run where namespaces may be made: not in a plain chroot, nor in a container without the right to mount"
        if os.geteuid() == 0
        else "doit host --install, and give yourself sub-ids in /etc/subuid and /etc/subgid; or run as root"
    )
    evidence = said.decode(errors="replace").splitlines()
    return HostFault("this machine allows no sandbox", evidence=evidence, hint=hint)


def mount_memory(box: Sandbox, where: Path, *, mode: str = "0755") -> None:
    """A file system in memory on a folder that is there: it vanishes with the sandbox, and it keeps no access times."""
    argv = ("mount", "-t", "tmpfs", "-o", f"mode={mode},noatime,size=90%", "tmpfs", str(where))
    box.run(Command(argv, f"mount memory at {where}"))


@contextmanager
def mount_point(where: Path) -> Iterator[Path]:
    """An empty folder for as long as it is needed. Outside the sandbox it stays empty."""
    where.mkdir(parents=True, exist_ok=True)
    try:
        yield where.absolute()
    finally:
        where.rmdir()


@contextmanager
def inhabited(box: Sandbox, tree: Path) -> Iterator[None]:
    """proc and the few device nodes in a root file system, for as long as programs run in it. /dev and /proc must be there.

    When the block fails they stay, and go with the sandbox.
    """
    proc, dev = tree / "proc", [tree / "dev" / name for name in NODES]
    box.run(Command(("mount", "-t", "proc", "proc", str(proc)), "mount the image's proc"))
    box.run(Command(("touch", *map(str, dev)), "make room for device nodes"))
    for node in dev:
        box.run(Command(("mount", "--bind", f"/dev/{node.name}", str(node)), f"lend /dev/{node.name}"))
    yield
    box.run(Command(("umount", *map(str, dev), str(proc)), "take back what was lent"))
    box.run(Command(("rm", *map(str, dev)), "remove the room for device nodes"))


@contextmanager
def lent(box: Sandbox, folder: Path, where: Path) -> Iterator[None]:
    """A folder of the host's at a place in a root file system. When the block fails it stays, and goes with the sandbox."""
    box.run(Command(("install", "-d", str(where)), f"make room at {where}"))
    box.run(Command(("mount", "--bind", str(folder), str(where)), f"lend {folder}"))
    yield
    # Whatever a program left running, such as an agent of gpg's, would keep it busy. Nobody inside can end the first process.
    box.run(Command(("sh", "-c", "kill -KILL -1 2> /dev/null || :"), "end what was left running"))
    box.run(Command(("umount", str(where)), f"take {folder} back"))
