"""What this machine needs, and why; `--install` brings what is missing.

In:    the tools of every stage, the mirrors and the cloud of the configuration
Out:   a table; a failure when anything that is needed is missing
Needs: nothing; root or sudo to install
"""

import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from tasks.kit.fault import ConfigFault, Fault, HostFault
from tasks.kit.proc import Command, run, tool
from tasks.kit.qemu import KVM
from tasks.kit.sandbox import sandbox
from tasks.plan import firmware, hybrid
from tasks.spec.part import Part
from tasks.spec.tool import NEWUIDMAP, Tool
from tasks.spec.units import UNITS

SKEW = 300.0  # seconds: what AWS's signatures forgive
BUILD_SPACE = (
    3 * UNITS["GiB"]
)  # for a root file system, an image and a bundle, beside the disk's full size
INSTALL = {
    "name": "install",
    "long": "install",
    "type": bool,
    "default": False,
    "help": "install what is missing",
}
TESTS = {
    "name": "tests",
    "long": "tests",
    "type": bool,
    "default": False,
    "help": "and what the tests need",
}
FOR_TESTS = (
    Tool("openssl", "to prove bundles with a program that is not ours", "openssl", "openssl"),
    Tool("gzip", "to prove bundles with a program that is not ours", "gzip", "gzip"),
    Tool("useradd", "to make an ordinary user, and build as one", "passwd", "shadow-utils"),
    NEWUIDMAP,
    Tool("dnf", "to install RPMs as the images of that family do", "dnf", "dnf"),
    Tool("rpm", "to read RPMs", "rpm", "rpm"),
    Tool("rpmbuild", "to make RPMs of a few files", "rpm", "rpm-build"),
    Tool("rpmsign", "to sign them", "rpm", "rpm-sign"),
    Tool("createrepo_c", "to make repositories of them", "createrepo-c", "createrepo_c"),
    Tool("gpg", "to make the keys that sign them", "gpg", "gnupg2"),
    Tool("busybox", "to be the shell of their scriptlets", "busybox-static", "busybox"),
    *hybrid.tools("arm64"),
    firmware.uefi("arm64"),
    Tool(
        "qemu-system-aarch64",
        "to boot disks of another architecture",
        "qemu-system-arm",
        "qemu-system-aarch64-core",
    ),
    Tool("mkfs.xfs", "to have a file system that we cannot read", "xfsprogs", "xfsprogs"),
)
MIRROR = {
    "name": "mirror",
    "long": "mirror",
    "type": bool,
    "default": False,
    "help": "and what `doit mirror` needs",
}
IMAGE = {
    "name": "image",
    "long": "image",
    "type": str,
    "default": "",
    "help": "look at what this image needs; default: those of config/site.yaml",
}
ANSWER = 10.0  # seconds for a mirror's Date header


class Needs(Part):
    """Of one image."""

    space: int  # bytes that the build folder must have left
    mirrors: tuple[str, ...]
    tools: tuple[Tool, ...]
    mirror_tools: tuple[Tool, ...] = ()  # when it is made of a mirror of one's own


class Order(Part):
    """All this stage may know."""

    build: str
    usual: tuple[str, ...]  # the images that bare doit makes
    images: Mapping[str, Needs]
    mirrored: bool = False  # whether bare doit makes mirrors, too


@dataclass(frozen=True)
class Result:
    name: str
    passed: bool
    detail: str
    remedy: str = ""
    package: str = ""


@dataclass(frozen=True)
class Manager:
    """A package manager of hosts."""

    program: str
    refresh: tuple[str, ...]
    install: tuple[str, ...]
    package: Callable[[Tool], str]


MANAGERS = (
    Manager(
        "apt-get",
        ("apt-get", "update", "-q"),
        ("apt-get", "install", "-q", "-y", "--no-install-recommends"),
        lambda each: each.apt,
    ),
    Manager(
        "dnf", (), ("dnf", "install", "-y", "--setopt=install_weak_deps=False"), lambda each: each.dnf
    ),
)


def body(
    order: Order,
    *,
    install: bool = False,
    tests: bool = False,
    mirror: bool = False,
    image: str = "",
) -> None:
    if image and image not in order.images:
        raise ConfigFault(
            f"there is no image {image}", hint=f"one of: {', '.join(sorted(order.images))}"
        )
    looked_at = [order.images[name] for name in ((image,) if image else order.usual)]
    all_needs = list(order.images.values()) if tests else looked_at
    tools = [each for needs in all_needs for each in needs.tools]
    if mirror or tests or order.mirrored:
        tools += [each for needs in all_needs for each in needs.mirror_tools]
    needed = _once((*tools, *(FOR_TESTS if tests else ())))
    manager = next((each for each in MANAGERS if tool(each.program)), None)
    if install:
        _install(manager, [each for each in needed if not each.found])
    results = list(_checks(Path(order.build), looked_at, needed))
    for each in results:
        sys.stdout.write(f"{'ok' if each.passed else 'MISSING':8}{each.name:22} {each.detail}\n")
    wrong = [each for each in results if not each.passed]
    if wrong:
        raise HostFault(
            f"this machine lacks {len(wrong)} thing(s)",
            evidence=[f"{each.name}: {each.remedy}" for each in wrong],
            hint="doit host --install" if any(each.package for each in wrong) else "",
        )


def _once(tools: Sequence[Tool]) -> list[Tool]:
    """Each program once, with the first reason."""
    unique = {each.program: each for each in reversed(tools)}
    return sorted(unique.values(), key=lambda each: each.program)


def _checks(build: Path, images: Collection[Needs], tools: Iterable[Tool]) -> Iterator[Result]:
    for each in tools:
        lacking = f"needed {each.why}"
        if each.files:
            lacking += f"; none of these is there: {', '.join(each.files)}"
        yield Result(each.program, each.found is not None, each.why, lacking, each.apt)
    yield _sandbox()
    yield _space(build, max(each.space for each in images))
    yield from _clock(dict.fromkeys(mirror for each in images for mirror in each.mirrors))
    openable = os.access(KVM, os.R_OK | os.W_OK)
    told = (
        "may be opened; whether it works shows at the first boot"
        if openable
        else "no: boots take several times as long"
    )
    yield Result("kvm", passed=True, detail=told)


def _sandbox() -> Result:
    name = "sandbox"
    if not all(tool(program) for program in ("unshare", "nsenter", "setpriv")):
        return Result(name, False, "cannot be tried yet", "its tools are not installed")
    try:
        with sandbox() as box:
            box.run(Command(("true",), "try the sandbox"))
    except Fault as fault:
        return Result(
            name, False, " ".join((fault.problem, *fault.evidence)), fault.hint or fault.problem
        )
    return Result(name, True, "namespaces can be made")


def _space(build: Path, need: int) -> Result:
    there = next(each for each in (build.absolute(), *build.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / UNITS['GiB']:.1f} GiB free at {build}, {need / UNITS['GiB']:.1f} needed"
    return Result(
        "space", free >= need, told, f"{told}: make room, or write another `build` in config/site.yaml"
    )


def _clock(mirrors: Collection[str]) -> Iterator[Result]:
    """Against the first mirror that tells the time: a clock that is off is refused by AWS, and by apt."""
    import urllib.error
    import urllib.request

    for mirror in mirrors:
        if not mirror.startswith("http"):
            continue
        try:
            head = urllib.request.Request(mirror, method="HEAD")  # noqa: S310 - it was looked at one line above
            with urllib.request.urlopen(head, timeout=ANSWER) as answer:  # noqa: S310 - the same
                date = answer.headers["Date"]
        except urllib.error.HTTPError as error:  # whatever it says of the page, it says when
            date = error.headers["Date"]
        except (OSError, ValueError):
            continue
        if date:
            off = (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
            yield Result(
                "clock",
                abs(off) <= SKEW,
                f"{off:+.0f} s from {mirror}",
                f"{off:+.0f} s off: run an NTP client",
            )
            return
    if any(mirror.startswith("http") for mirror in mirrors):
        yield Result(
            "mirror", False, "no mirror answered", f"none of these answered: {', '.join(mirrors)}"
        )


def _install(manager: Manager | None, missing: list[Tool]) -> None:
    if not missing:
        return
    if manager is None:
        raise HostFault(
            "neither apt-get nor dnf is here",
            evidence=[f"{each.program}: {each.why}" for each in missing],
        )
    packages = sorted({manager.package(each) for each in missing})
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    if sudo and not tool("sudo"):
        by_hand = " ".join((*manager.install, *packages))
        raise HostFault("installing needs root", evidence=[f"as root: {by_hand}"])
    # Debian's GRUB for another architecture is a package of that architecture.
    others = sorted({name.partition(":")[2] for name in packages if ":" in name})
    known = [("dpkg", "--add-architecture", each) for each in others]
    for argv in (*known, manager.refresh, (*manager.install, *packages)):
        if argv:
            command = Command(
                (*sudo, *argv),
                f"install {', '.join(packages)}",
                env={"DEBIAN_FRONTEND": "noninteractive"},
            )
            run(command, seen=lambda line: print(f"    {line}"))  # noqa: T201 - an installation is watched
