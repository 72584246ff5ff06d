"""How fast an image becomes a block list, beside hashing every block in one thread: python tests/bench/bench_blocks.py [--image IMG]

Makes a 2 GiB hybrid disk with 0.38 GB of this machine's own /usr, unless it is given an image, and prints how many blocks each rule would send, seconds
and processor seconds of both ways, and our peak memory; then the list of a 64 GiB file system with 50 GiB in use. Ends with 1 when the ratio is below
3 or the memory above 120 MB. `--workdir` takes some 1 GB; the median of `--runs` runs counts.
"""

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HOUSE = Path(__file__).parents[2]
sys.path.insert(0, str(HOUSE))

SIZE = 2 << 30
BLOCK = 512 << 10
LARGE, IN_USE = 64 << 30, 50 << 30
RATIO, MEMORY = 3, 120

Figures = dict[str, float]


def measured(deed: Callable[[], object]) -> Figures:
    wall, processor = time.perf_counter(), time.process_time()
    deed()
    return {"seconds": time.perf_counter() - wall, "processor": time.process_time() - processor}


def plain(image: Path) -> None:
    """What everybody does: reads all of it, and hashes what is read."""
    with image.open("rb", buffering=0) as file:
        buffer = bytearray(BLOCK)
        while file.readinto(buffer):
            hashlib.sha256(buffer).hexdigest()


def ours(image: Path) -> Figures:
    """In a process of its own, so that its peak memory is its own; seconds are those of the stage's body."""
    command = (sys.executable, __file__, "--one", "--image", str(image))
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: Figures = json.loads(said)
    return found


def one(image: Path) -> None:
    from tasks import blocks
    from tasks.kit.report import Silent
    from tasks.spec.record import FileStamp, ImgStamp, now

    status = image.stat()
    stamp, target = image.with_suffix(".bench.stamp"), image.with_suffix(".bench.json")
    file = FileStamp(name=image.name, size=status.st_size, mtime_ns=status.st_mtime_ns, sha256="0" * 64)
    ImgStamp(file=file, layout="hybrid", made=now()).write(stamp)
    order = blocks.Order(image="bench")
    found = measured(
        lambda: blocks.body(order, report=Silent(), image=image, stamp=stamp, blocks=target)
    )
    peak = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps({**found, "memory": int(peak[0]) * 1024 / 1e6}))


def counted(image: Path) -> None:
    """Blocks by each rule. Only ours may be sent to an encrypted volume, see tests/test_blocks.py."""
    from tasks.kit import files
    from tasks.plan.blockmap import touched
    from tasks.spec.record import BlockList

    size = image.stat().st_size
    found = BlockList.read(image.with_suffix(".bench.json"))
    with image.open("rb") as file:
        stored = sum(touched(files.stored(file.fileno(), size), size=size, block=BLOCK))
        zeros = bytes(BLOCK)
        file.seek(0)
        other = sum(file.read(BLOCK) != zeros for _ in range(size // BLOCK))
    print(f"blocks: {len(found.blocks)} sent by ours ({', '.join(found.unread) or 'no map'})")
    print(f"        {other} not zero, {stored} not holes, {size // BLOCK} in all")


def make_image(workdir: Path) -> Path:
    from tests import disks
    from tests.bench.bench_bundle import tree

    image, root = workdir / "bench.img", workdir / "root"
    tree(root)
    image.touch()
    at, size = f"offset={disks.ROOT_AT}", f"{disks.root_size(SIZE) >> 10}k"
    command = ("mke2fs", "-q", "-F", "-t", "ext4", "-E", at, "-d", root, image, size)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return disks.surrounded(image, size=SIZE)


def make_large(workdir: Path) -> Path:
    """Its file is allocated and never written: what is measured is the map and the list, not this machine's SHA-256."""
    image, empty = workdir / "large.img", workdir / "empty"
    empty.touch()
    with image.open("wb") as file:
        file.truncate(LARGE)
    subprocess.run(("mke2fs", "-q", "-F", "-t", "ext4", image), check=True)
    for deed in (f"write {empty} big", f"fallocate big 0 {IN_USE // 4096 - 1}"):
        command = ("debugfs", "-w", "-R", deed, image)
        subprocess.run(command, check=True, capture_output=True)
    return image


def line(name: str, found: Figures) -> str:
    memory = f", {found['memory']:.0f} MB of memory" if "memory" in found else ""
    return f"{name:36} {found['seconds']:6.2f} s, {found['processor']:5.2f} s of processors{memory}"


def bench(workdir: Path, image: Path, runs: int) -> bool:
    plain(image)  # so that both find it in memory
    base = min((measured(lambda: plain(image)) for _ in range(2)), key=lambda each: each["seconds"])
    tries = [ours(image) for _ in range(runs)]
    seconds = statistics.median(each["seconds"] for each in tries)
    typical = min(tries, key=lambda each: abs(each["seconds"] - seconds))
    counted(image)
    print(line("every block, one thread", base))
    print(line(f"ours, {len(os.sched_getaffinity(0))} processors", typical))
    large = ours(make_large(workdir))
    print(line("64 GiB, 50 in use", large))
    ratio, memory = base["seconds"] / seconds, max(each["memory"] for each in (*tries, large))
    print(f"{ratio:.1f} times as fast, {memory:.0f} MB at most")
    return ratio >= RATIO and memory <= MEMORY


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--image", type=Path, help="one of your own; the list is written beside it")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.image)
        return 0
    with tempfile.TemporaryDirectory(dir=given.workdir, prefix="bench-blocks-") as workdir:
        image = given.image or make_image(Path(workdir))
        return 0 if bench(Path(workdir), image, given.runs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
