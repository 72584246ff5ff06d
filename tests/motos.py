"""moto's server, in a process of its own: somebody else's idea of EC2, to see whether ours is only our own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.cloud.clients import Cloud, connect
from tests.clouds import elsewhere

ACCOUNT = "123456789012"


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    env = {
        **os.environ,
        "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
        "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from moto.server import main; main()",
                "-H",
                "127.0.0.1",
                "-p",
                str(port),
            ],
            stdout=out,
            stderr=out,
            env=env,
        )
    try:
        deadline = time.monotonic() + 60
        while not _post(port, "/moto-api/reset"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _post(port: int, path: str, body: str = "") -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body, {"Content-Type": "text/plain"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture
def account(moto: str, credentials: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    """An account at moto's, with nothing in it but the default VPC."""
    credentials.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert _post(int(moto.rpartition(":")[2]), "/moto-api/reset")
    return connect(elsewhere(moto), tmp_path)


@pytest.fixture
def policed(
    moto: str, account: Cloud, credentials: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Cloud]]:
    """The account with moto's IAM on: from `policed(*actions)` on, we are a user who may do these and no more."""
    iam = account.session.client("iam", endpoint_url=moto, config=account.config)
    port = int(moto.rpartition(":")[2])

    def user(*actions: str) -> Cloud:
        iam.create_user(UserName="builder")
        allowed = {"Effect": "Allow", "Resource": "*", "Action": ["sts:GetCallerIdentity", *actions]}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="builder", PolicyName="p", PolicyDocument=policy)
        key = iam.create_access_key(UserName="builder")["AccessKey"]
        credentials.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        credentials.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        assert _post(port, "/moto-api/reset-auth", "0")
        return connect(elsewhere(moto), tmp_path)

    yield user
    assert _post(port, "/moto-api/reset-auth", "inf")
