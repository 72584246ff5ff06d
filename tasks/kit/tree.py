"""A root file system's tree in a sandbox: unpacked, written to, run in. Its own links point within it, and nothing leaves it."""

from collections.abc import Mapping
from pathlib import Path

from tasks.kit.proc import Command
from tasks.kit.sandbox import Sandbox

UNTAR = (
    *("tar", "--extract", "--numeric-owner", "--preserve-permissions"),
    *("--xattrs", "--xattrs-include=*"),
)


def unpack(box: Sandbox, tree: Path, rootfs: Path, layer: bytes) -> None:
    """A tar without its device nodes, and another, `layer`, over it."""
    of = ("--exclude=./dev/?*", "--directory", str(tree), "--file", str(rootfs))
    box.run(Command((*UNTAR, *of), "unpack the root file system"))
    over = ("--keep-directory-symlink", "--directory", str(tree), "--file", "-")
    box.run(Command((*UNTAR, *over), "lay the configuration over it", stdin=layer))


def append(box: Sandbox, tree: Path, what: Mapping[str, bytes]) -> None:
    """To files, by their paths. From inside: where a link of the image points, it points within the image."""
    for path, data in what.items():
        argv = ("chroot", str(tree), "tee", "--append", path)
        box.run(Command(argv, f"append to {path}", stdin=data))


def run_script(box: Sandbox, tree: Path, script: Path, env: Mapping[str, str]) -> None:
    """Inside, as root; no copy of it stays behind."""
    inside = f"/root/{script.name}"
    bring = ("install", "-m", "755", str(script), f"{tree}{inside}")
    box.run(Command(bring, f"bring {script.name} in"))
    box.run(Command(("chroot", str(tree), inside), f"run {script.name}", env=env))
    box.run(Command(("rm", f"{tree}{inside}"), f"take {script.name} out"))


def clamp(box: Sandbox, tree: Path, epoch: int) -> None:
    """No file is younger than the epoch, in seconds since 1970."""
    found = ("find", str(tree), "-xdev", "-newermt", f"@{epoch}")
    touch = ("-exec", "touch", "-h", "-d", f"@{epoch}", "{}", "+")
    box.run(Command((*found, *touch), "clamp the times of the tree"))
