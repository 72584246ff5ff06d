"""How fast an image becomes a bundle, beside `tar | gzip | openssl | split` in the same run: python tests/bench/bench_bundle.py

Makes a 2 GiB ext4 image with 0.45 GB of this machine's own /usr, bundles it both ways, prints seconds, ratio, sizes and our peak memory. Ends
with 1 when the ratio is below 15 or the memory above 150 MB. `--workdir` takes some 3 GB; the median of `--runs` runs of ours counts.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOUSE = Path(__file__).parents[2]
sys.path.insert(0, str(HOUSE))

SIZE = 2 << 30
DATA = 380_000_000  # of files, in blocks of 4 KiB; inode tables and journal make it 450
LARGEST = 20_000_000  # of one file: the tree should be like a system's, not one archive
RATIO, MEMORY = 15, 150

# What Amazon's tool does, but for its digests; level 6 is gzip's and euca2ools' own, Amazon's tool takes 9.
PLAIN = (
    'tar -c -h -S --owner 0 --group 0 -C "$1" "$2" | gzip -{level} '
    '| openssl enc -e -aes-128-cbc -K "$4" -iv "$4" | split -b 10485760 -d -a 3 - "$3/$2.part."'
)


def tree(root: Path) -> None:
    """Files of a Debian system, drawn at random but each time the same, until there are DATA bytes."""
    libraries = Path("/usr/lib", f"{os.uname().machine}-linux-gnu")
    homes = (Path("/usr/bin"), Path("/usr/sbin"), Path("/usr/share"), libraries)
    every = sorted(
        path for home in homes for path in home.rglob("*") if path.is_file() and not path.is_symlink()
    )
    random.Random(2008).shuffle(every)
    taken = 0
    for path in every:
        if taken >= DATA:
            return
        size = path.stat().st_size
        if size > LARGEST or not os.access(path, os.R_OK):
            continue
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        taken += size + -size % 4096


def make_image(workdir: Path) -> Path:
    image, root = workdir / "bench.img", workdir / "root"
    tree(root)
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(("mke2fs", "-q", "-F", "-t", "ext4", "-d", root, image), check=True)
    shutil.rmtree(root)
    return image


def make_keys(workdir: Path) -> None:
    for name, bits in (("user", 2048), ("ec2", 1024)):
        files = ("-keyout", workdir / f"{name}.pk.pem", "-out", workdir / f"{name}.cert.pem")
        subprocess.run(
            (
                "openssl",
                "req",
                "-x509",
                "-newkey",
                f"rsa:{bits}",
                "-nodes",
                "-subj",
                f"/CN={name}",
                *files,
            ),
            check=True,
            stderr=subprocess.DEVNULL,
        )


def ours(workdir: Path, image: Path, compression: str) -> dict[str, float]:
    """In a process of its own, so that its peak memory is its own. Seconds are those of the stage's body, imports of its own included."""
    command = (
        sys.executable,
        __file__,
        "--one",
        compression,
        "--workdir",
        str(workdir),
        "--image",
        str(image),
    )
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    )
    return found


def one(workdir: Path, image: Path, compression: str) -> None:
    from tasks import bundle
    from tasks.kit.report import Silent

    out = workdir / "ours"
    order = bundle.Order(
        image="bench",
        architecture="x86_64",
        account="1" * 12,
        block_devices=(("ami", "sda1"), ("root", "/dev/sda1")),
        kernel_id=None,
        ramdisk_id=None,
        product_codes=(),
        ancestors=(),
        prefix=None,
        compression=compression,
    )
    began = time.perf_counter()
    bundle.body(
        order,
        report=Silent(),
        image=image,
        stamp=workdir / "stamp",
        key=workdir / "user.pk.pem",
        certificate=workdir / "user.cert.pem",
        ec2_certificate=workdir / "ec2.cert.pem",
        manifest=out / f"{image.name}.manifest.xml",
        bundle=workdir / "bundle.stamp",
    )
    seconds = time.perf_counter() - began
    status = Path(
        "/proc/self/status"
    ).read_text()  # not getrusage: its figure is the parent's when that was larger
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "memory": peak, "size": size_of(out)}))


def plain(workdir: Path, image: Path, level: int) -> dict[str, float]:
    out = workdir / "plain"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    script = ("bash", "-o", "pipefail", "-c", PLAIN.format(level=level), "bash")
    began = time.perf_counter()
    subprocess.run(
        (*script, image.parent, image.name, out, "0" * 32), check=True, stdout=subprocess.DEVNULL
    )
    return {"seconds": time.perf_counter() - began, "size": size_of(out)}


def size_of(directory: Path) -> float:
    return sum(path.stat().st_size for path in directory.iterdir()) / 1e6


def write_stamp(workdir: Path, image: Path) -> None:
    from tasks.spec.record import FileStamp, ImgStamp, now

    ImgStamp(file=FileStamp.of(image), layout="none", made=now()).write(workdir / "stamp")


def bench(workdir: Path, runs: int, level: int) -> bool:
    image = make_image(workdir)
    make_keys(workdir)
    write_stamp(workdir, image)
    print(f"image: {SIZE / 2**30:.0f} GiB, {image.stat().st_blocks * 512 / 1e6:.0f} MB of data")
    base = plain(workdir, image, level)
    print(
        f"{f'tar | gzip -{level} | openssl | split':34} {base['seconds']:6.2f} s {base['size']:6.0f} MB"
    )
    good = True
    for compression in ("fast", "small"):
        found = [ours(workdir, image, compression) for _ in range(runs if compression == "fast" else 1)]
        seconds = statistics.median(each["seconds"] for each in found)
        ratio, memory = base["seconds"] / seconds, max(each["memory"] for each in found)
        name = f"ours, compression: {compression}"
        print(
            f"{name:34} {seconds:6.2f} s {found[0]['size']:6.0f} MB {memory:5.0f} MB of memory, {ratio:.1f} times as fast"
        )
        if compression == "fast":
            good = ratio >= RATIO
        good = good and memory <= MEMORY
    return good


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--level", type=int, default=6, help="gzip's, of the plain way")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.workdir, given.image, given.one)
        return 0
    with tempfile.TemporaryDirectory(dir=given.workdir, prefix="bench-bundle-") as workdir:
        return 0 if bench(Path(workdir), given.runs, given.level) else 1


if __name__ == "__main__":
    raise SystemExit(main())
