"""Our sending of blocks against plain boto3 and, where it is installed, coldsnap: all to the same HTTPS sink on the loopback.

Usage: python tests/bench/bench_ebs.py [BLOCKS] [ROUNDS]

The sink reads a request and says yes. Neither we nor boto3 hash here: the digests are known from the block list. CPU and
memory are of the client's process alone; the sink has its own, and on two cores takes one of them.
"""

import base64
import hashlib
import json
import os
import random
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.tunnels import certified  # noqa: E402 - run as a program, this has no package

SIZE = 524288
SNAPSHOT = "snap-0123456789abcdef0"
THREADS = (4, 8, 16, 32)  # of boto3: the best of them counts


def sink(certificate: str, key: str) -> None:
    """Says its port, and yes to everything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=swallow, args=(client, context), daemon=True).start()


def swallow(client: socket.socket, context: ssl.SSLContext) -> None:
    told = {"SnapshotId": SNAPSHOT, "BlockSize": SIZE, "VolumeSize": 1, "Status": "completed"}
    body = json.dumps(told).encode()
    answer = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    buffer = memoryview(bytearray(1 << 18))
    with suppress(OSError):
        line = context.wrap_socket(client, server_side=True)
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                got = line.recv_into(buffer)
                if not got:
                    return
                head += buffer[:got]
            head, _, rest = head.partition(b"\r\n\r\n")
            length = next((int(each[15:]) for each in head.split(b"\r\n") if each[:15].lower() == b"content-length:"), 0)  # fmt: skip
            left = length - len(rest)
            while left > 0:
                left -= line.recv_into(buffer, min(left, len(buffer)))
            line.sendall(answer % len(body) + body)


def ours(url: str, image: Path, digests: list[str], _: int) -> None:
    from tasks.cloud import puts
    from tasks.cloud.clients import Cloud, core_session, settings
    from tasks.cloud.crew import Cargo, Crew
    from tasks.cloud.journal import Head, Journal
    from tasks.cloud.pace import MOST
    from tasks.kit.report import Silent
    from tasks.plan.delta import Write

    import boto3  # isort: skip

    session = boto3.Session(botocore_session=core_session(), region_name="us-east-1")
    cloud = Cloud("aws", "1", "us-east-1", "", session, settings(path_style=True), url)
    head = Head(
        account="1", region="r", cloud_id="", image="i", sha256="s", digest="d", parent="", delta="e", attempt=1
    )  # fmt: skip
    journal = Journal.begun(image.with_name("journal"), head).opened()
    writes = [Write(index, sha256) for index, sha256 in enumerate(digests)]
    crew = Crew(Cargo(SNAPSHOT, image, SIZE, writes), puts.road(cloud, MOST).line, journal.acknowledge)
    crew.send(Silent())
    journal.close()


def boto(url: str, image: Path, digests: list[str], threads: int) -> None:
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=threads)
    client: Any = boto3.client("ebs", region_name="us-east-1", endpoint_url=url, config=config)
    handle = os.open(image, os.O_RDONLY)

    def put(index: int) -> None:
        client.put_snapshot_block(
            SnapshotId=SNAPSHOT, BlockIndex=index, BlockData=os.pread(handle, SIZE, index * SIZE), DataLength=SIZE,
            Checksum=base64.b64encode(bytes.fromhex(digests[index])).decode(), ChecksumAlgorithm="SHA256",
        )  # fmt: skip

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(put, range(len(digests))):
            pass


def client(kind: str, url: str, image: str, threads: str) -> None:
    """In a process of its own: seconds, CPU seconds and peak memory, of the sending alone."""
    digests = json.loads(Path(f"{image}.json").read_text())
    way = {"ours": ours, "boto3": boto}[kind]
    way(url, Path(image), digests[:8], int(threads))  # imports, models, a warm cache
    before, began = time.process_time(), time.perf_counter()
    way(url, Path(image), digests, int(threads))
    seconds, cpu = time.perf_counter() - began, time.process_time() - before
    print(json.dumps([seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


@contextmanager
def running(folder: Path) -> Iterator[str]:
    certificate, _ = certified(folder)
    command = [sys.executable, __file__, "sink", str(certificate), str(folder / "key.pem")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"https://localhost:{int(process.stdout.readline())}"  # type: ignore[union-attr]
    finally:
        process.kill()
        process.wait()


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ, "AWS_CA_BUNDLE": str(folder / "certificate.pem"), "SSL_CERT_FILE": str(folder / "certificate.pem"),
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CONFIG_FILE": "/dev/null",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip


def measured(kind: str, url: str, image: Path, threads: int) -> tuple[float, float, float]:
    command = [sys.executable, __file__, "client", kind, url, str(image), str(threads)]
    done = subprocess.run(command, env=environment(image.parent), stdout=subprocess.PIPE, check=True)
    seconds, cpu, memory = json.loads(done.stdout)
    return seconds, cpu, memory


def coldsnap(program: str, url: str, image: Path) -> tuple[float, float, float]:
    """Its hashing is in it; it knows of no block list."""
    command = [program, "--endpoint", url, "--region", "us-east-1", "upload", "--no-progress", str(image)]  # fmt: skip
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment(image.parent))
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"coldsnap ended with {status}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main(blocks: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as there:
        folder = Path(there)
        image = folder / "one.img"
        luck, digests = random.Random(1), []
        with image.open("wb") as file:
            for _ in range(blocks):
                data = luck.randbytes(4096) * (SIZE // 4096)
                digests.append(hashlib.sha256(data).hexdigest())
                file.write(data)
        image.with_name("one.img.json").write_text(json.dumps(digests))
        with running(folder) as url:
            compare(url, image, blocks, rounds)


def compare(url: str, image: Path, blocks: int, rounds: int) -> None:
    best = min(THREADS, key=lambda threads: measured("boto3", url, image, threads)[0])
    runs: dict[str, list[tuple[float, float, float]]] = {"ours": [], f"boto3, {best} threads": []}
    if program := shutil.which("coldsnap"):
        runs["coldsnap"] = []
    for _ in range(rounds):
        runs["ours"].append(measured("ours", url, image, 0))
        runs[f"boto3, {best} threads"].append(measured("boto3", url, image, best))
        if program:
            runs["coldsnap"].append(coldsnap(program, url, image))
    print(f"{blocks} blocks of 512 KiB, medians of {rounds} rounds")
    print(f"{'':20}{'blocks/s':>10}{'CPU ms/block':>14}{'peak MiB':>10}")
    for name, found in runs.items():
        seconds, cpu, memory = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name:20}{blocks / seconds:10.0f}{cpu / blocks * 1000:14.2f}{memory:10.0f}")
    for name, found in runs.items():
        if name != "ours":
            pairs = list(zip(found, runs["ours"], strict=True))
            faster = statistics.median(other[0] / our[0] for other, our in pairs)
            leaner = statistics.median(other[1] / our[1] for other, our in pairs)
            print(
                f"against {name}: {faster:.1f} times as fast, {leaner:.1f} times less CPU (median of pairs)"
            )
    if not program:
        print("coldsnap is not installed here")


if __name__ == "__main__":
    if sys.argv[1:2] == ["sink"]:
        sink(*sys.argv[2:])
    elif sys.argv[1:2] == ["client"]:
        client(*sys.argv[2:])
    else:
        main(*map(int, (sys.argv[1:] + ["1024", "3"][len(sys.argv) - 1 :])))
