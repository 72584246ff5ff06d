"""SeaweedFS's S3, somebody else's server, on the loopback: it checks what moto lets pass."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.clouds import Relay, Reply, relaying

KEY, SECRET, ACCOUNT = "nobody", "nothing", "123456789012"
PATIENCE = 60.0  # seconds to come up: 1.6 as measured, more on a loaded machine
WHO = (
    "<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetCallerIdentityResult>"
    f"<Arn>arn:aws:iam::{ACCOUNT}:user/nobody</Arn><UserId>AID</UserId><Account>{ACCOUNT}</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
SERVERS = ("master", "volume", "filer", "s3", "admin")


def free(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def command(folder: Path, port: int) -> list[str]:
    """All that listens, on the loopback; nothing is told to its makers; and a bucket that is not empty is not deleted, as on AWS."""
    ports = iter([*free(len(SERVERS)), *free(len(SERVERS))])
    taken = [
        each
        for name in SERVERS
        for each in (f"-{name}.port={next(ports)}", f"-{name}.port.grpc={next(ports)}")
    ]
    return [
        "setpriv", "--pdeathsig=KILL", "--",  # however the tests end
        str(Path(sys.executable).parent / "weed"), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        *taken, f"-s3.port={port}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.localSocket={folder / 's3.sock'}", f"-filer.localSocket={folder / 'filer.sock'}", "-webdav=false",
        "-admin.ui=false", "-master.telemetry=false", "-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false",
    ]  # fmt: skip


def client(url: str, *, key: str = KEY, secret: str = SECRET) -> Any:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=config,
    )


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. One server for all tests, in a folder of its own: to come up on what another left takes it 20 s."""
    folder = tmp_path_factory.mktemp("seaweed")
    identity = {
        "name": KEY,
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (port,) = free(1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(folder, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
        )
    try:
        wait(process, f"http://127.0.0.1:{port}", folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()  # nothing of it is wanted any more
        process.wait()


def wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Until it has taken an object: it answers before it can."""
    deadline = time.monotonic() + PATIENCE
    s3 = client(url)
    while time.monotonic() < deadline and process.poll() is None:
        try:
            s3.create_bucket(Bucket="ready")
            s3.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (
            BotoCoreError,
            ClientError,
        ):  # refused, broken off, not ready: it passes, or the log tells
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"SeaweedFS did not come up:\n{log.read_text()[-3000:]}")


@pytest.fixture
def weeds(seaweed: str, credentials: pytest.MonkeyPatch) -> Iterator[Relay]:
    """The server behind a relay that answers for STS, which it has not: whose the credentials are."""
    credentials.setenv("AWS_ACCESS_KEY_ID", KEY)
    credentials.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with relaying(seaweed) as relay:
        relay.rule = caller
        yield relay


def caller(call: Any) -> Reply | None:
    if call.action != "GetCallerIdentity":
        return None
    return Reply(200, WHO.encode(), {"Content-Type": "text/xml"})
