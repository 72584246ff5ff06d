"""A local cloud in the tests' own process: the real server on the wire, in a folder that can be opened again after it ended."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.cloud.local import door, signature
from tasks.cloud.local.server import Server


class LocalCloud:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.start()

    def start(self) -> None:
        self.server = Server(self.home, "test")
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.end()

    def restart(self) -> None:
        """All that it acknowledged is there again; what it only remembered is not."""
        self.stop()
        self.start()

    def announce(self) -> None:
        """Let it be found as a server in a process of its own is: by its state file."""
        self.server.announce()

    def wipe(self) -> None:
        """As if nobody had ever asked it for anything."""
        store = self.server.store
        with store.change() as db:
            names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for name in names:
                kept = "name = 'id'" if name == "settings" else "FALSE"
                db.execute(f"DELETE FROM {name} WHERE NOT {kept}")  # noqa: S608 - our own tables' names

    def age(self, days: float) -> None:
        """Everything that S3 holds was made so much earlier."""
        with self.server.store.change() as db:
            for name in ("s3_objects", "s3_uploads", "s3_pieces"):
                db.execute(f"UPDATE {name} SET made = made - ?", (days * 86400,))  # noqa: S608 - our own tables' names

    def client(
        self,
        service: str,
        *,
        account: str = "",
        region: str = "us-east-1",
        secret: str = signature.SECRET,
        **more: Any,
    ) -> Any:
        """boto3's, without retries. `account`: another one than the cloud's own."""
        key = f"local-{account}" if account else "local"
        return client_at(self.url, service, key=key, region=region, secret=secret, **more)

    def faults(self, *orders: dict[str, Any]) -> None:
        self.announce()
        door.control(self.home, door.FAULTS, list(orders))

    def settings(self, **values: float) -> None:
        self.announce()
        door.control(self.home, door.SETTINGS, values)


def client_at(
    url: str,
    service: str,
    *,
    key: str = "local",
    region: str = "us-east-1",
    secret: str = signature.SECRET,
    **more: Any,
) -> Any:
    import boto3
    from botocore.config import Config

    make: Any = boto3.client
    return make(
        service,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name=region,
        endpoint_url=url,
        config=Config(retries={"total_max_attempts": 1}, **more),
    )


@pytest.fixture
def localcloud(tmp_path: Path) -> Iterator[LocalCloud]:
    """One that holds nothing."""
    cloud = LocalCloud(tmp_path / "cloud")
    yield cloud
    cloud.stop()


def refused(call: Any, **asked: Any) -> str:
    """The error code that the call is refused with."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        call(**asked)
    return str(caught.value.response["Error"]["Code"])
