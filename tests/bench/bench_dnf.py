"""A root file system by our stage, against plain `dnf --installroot` into a folder, in the same run: python tests/bench/bench_dnf.py

Makes an RPM distribution of some 160 packages first (tests/rpmworld.py, a minute), then installs its group Base both ways,
in turn, and prints seconds and the median ratio. Ours ends with a tar and its stamp, dnf's with a folder. Needs root, as
plain dnf does.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOUSE = Path(__file__).parents[2]
sys.path.insert(0, str(HOUSE))

from tasks import rootfs  # noqa: E402 - found by the line above
from tasks.spec.source import YumRepository  # noqa: E402
from tests import rpmworld, stages  # noqa: E402

ROUNDS = 5
EPOCH = 1_767_225_600


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.chdir(folder)
        shutil.copytree(HOUSE / "templates", "templates")
        world = rpmworld.today(Path(folder) / "world")
        order = wanted(world)
        pairs = [(ours(order), plain(world)) for _ in range(ROUNDS)]
    one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    print(
        f"{len(world.packages)} packages: ours {one:.1f} s, plain dnf {other:.1f} s, ratio {ratio:.2f} "
        f"(median of {ROUNDS} pairs)"
    )


def wanted(world: rpmworld.World) -> rootfs.Order:
    repositories = tuple(
        YumRepository(
            id=part, baseurl=((world.folder / part).as_uri(),), gpgkey=(str(world.public_key),)
        )
        for part in (world.base, world.updates)
    )
    return rootfs.Order(
        distro="rocky",
        release="9",
        architecture="x86_64",
        repositories=repositories,
        groups=("Base",),
        packages=(),
        epoch=EPOCH,
    )


def ours(order: rootfs.Order) -> float:
    at = stages.shelf("bench")
    shutil.rmtree(at.here, ignore_errors=True)
    began = time.perf_counter()
    stages.make_rootfs(order, at)
    return time.perf_counter() - began


def plain(world: rpmworld.World) -> float:
    """As somebody would type it who knows the traps: rpm's database where the image looks for it, and a /dev/null."""
    root, home = Path("plain"), Path("home")
    for each in (root, home):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir()
    for name in ("dev", "proc", "sys"):
        (root / name).mkdir()
    (root / "dev/null").write_bytes(b"")
    (home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
    sections = [
        f"[{part}]\nname={part}\nbaseurl={(world.folder / part).as_uri()}\ngpgcheck=1\ngpgkey={world.public_key.as_uri()}\n"
        for part in (world.base, world.updates)
    ]
    conf = home / "yum.conf"
    conf.write_text("[main]\nreposdir=/dev/null\ninstall_weak_deps=0\nplugins=0\n" + "".join(sections))
    script = 'mount -t proc proc "$1/proc" && mount --bind /dev/null "$1/dev/null" && exec dnf -y -q -c "$2" --installroot="$1" --releasever=9 install @Base'
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh"]
    began = time.perf_counter()
    subprocess.run(
        [*argv, root.resolve(), conf.resolve()],
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(home.resolve()), "LC_ALL": "C.UTF-8"},
        capture_output=True,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
