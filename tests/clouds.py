"""What the tests of clouds share: one local cloud for all, small bundles, and a relay that can lie, lose and count."""

import hashlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tasks.cloud import local
from tasks.cloud.clients import Cloud, connect
from tasks.kit import files
from tasks.kit.report import Silent
from tasks.plan.envelope import Sealed
from tasks.plan.manifest import Manifest, Piece, document
from tasks.spec import record
from tasks.spec.cloud import CloudSpec
from tests.localcloud import LocalCloud

LOCAL = CloudSpec(name="local", kind="local", region="us-east-1")
MADE = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SHA256 = hashlib.sha256(b"an image").hexdigest()
MANIFEST = "debian-12.img.manifest.xml"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local cloud for all tests, found by its folder as every other."""
    cloud = LocalCloud(tmp_path_factory.mktemp("cloud"))
    cloud.announce()
    yield cloud
    cloud.stop()


@pytest.fixture(scope="session")
def home(shared: LocalCloud) -> Path:
    return shared.home


@pytest.fixture
def fresh(shared: LocalCloud) -> local.Endpoint:
    """A local cloud that holds nothing."""
    shared.wipe()
    return local.endpoint(shared.home)


@pytest.fixture(scope="session")
def cloud(home: Path) -> Cloud:
    """One connection for all: botocore reads its models once."""
    return connect(LOCAL, home)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Those of the local cloud, and no configuration of the user's."""
    for name in (
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_SESSION_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    return monkeypatch


def elsewhere(url: str, **more: str) -> CloudSpec:
    """What AWS is to us: an address, credentials by the chain, an account that STS tells."""
    return CloudSpec(
        name="aws", kind="aws", region=more.pop("region", "us-east-1"), endpoint_url=url, **more
    )


class Heard(Silent):
    """A report that remembers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def said(self, text: str) -> None:
        self.texts.append(text)

    def moved(self, done: int, total: int, unit: str = "B") -> None:
        assert unit == "B"
        self.steps.append((done, total))


def bundle(folder: Path, *, parts: int = 3, size: int = 20_000, seed: str = "one") -> tuple[Path, Path]:
    """A bundle as a cloud looks at it before it is started, which is when it is decrypted: (manifest, stamp)."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"debian-12.img.part.{index}" for index in range(parts)]
    for name in names:
        line = hashlib.sha256(f"{seed} {name}".encode()).digest()
        (folder / name).write_bytes((line * (size // 32 + 1))[:size])
    sealed, none = Sealed(key="00" * 128, iv="00" * 128), "0" * 40
    told = Manifest(
        architecture="x86_64",
        name="debian-12.img",
        user="123456789012",
        digest=none,
        size=parts * size,
        bundled_size=parts * size,
        for_ec2=sealed,
        for_user=sealed,
        parts=tuple(Piece(name, part(folder / name).sha1) for name in names),
        signature="00",
    )
    manifest = folder / MANIFEST
    manifest.write_bytes(document(told))
    stamp = folder.parent / "bundle.stamp"
    record.BundleStamp(
        sha256=SHA256,
        digest=hashlib.sha256(f"{seed} {parts} {size}".encode()).hexdigest(),
        manifest=part(manifest),
        parts=tuple(part(folder / name) for name in names),
    ).write(stamp)
    return manifest, stamp


def part(path: Path) -> record.PartFile:
    data = path.read_bytes()
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return record.PartFile(name=path.name, size=len(data), sha1=sha1, sha256=files.sha256(path))


@dataclass(frozen=True)
class Call:
    """A request as it came by."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def action(self) -> str:
        """EC2's and STS's word for it; S3 has none."""
        form = self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        return parse_qs(self.body.decode()).get("Action", [""])[0] if form else ""

    @property
    def key(self) -> str:
        """The file's name, when it is about an object."""
        return urlsplit(self.path).path.rpartition("/")[2]

    @property
    def sends(self) -> bool:
        return self.method == "PUT" and urlsplit(self.path).path.count("/") > 1


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


LOST = Reply(0)  # do it, and break off before the answer
Rule = Callable[[Call], Reply | None]


@dataclass
class Relay:
    """Stands before a cloud. `rule` answers in its place, loses its answer, or lets it through."""

    upstream: str
    rule: Rule = lambda _: None
    seen: list[Call] = field(default_factory=list)
    url: str = ""

    def handle(self, call: Call) -> Reply | None:
        """None: the answer is lost."""
        self.seen.append(call)
        verdict = self.rule(call)
        if verdict is not None and verdict is not LOST:
            return verdict
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=30)
        try:
            kept = {
                name: value
                for name, value in call.headers.items()
                if name not in ("expect", "connection")
            }
            connection.request(call.method, call.path, body=call.body or None, headers=kept)
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()
        return None if verdict is LOST else reply


@contextmanager
def relaying(upstream: str) -> Iterator[Relay]:
    relay = Relay(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(relay))
    relay.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(relay: Relay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = relay.handle(Call(self.command, self.path, headers, body))
            self.close_connection = True
            if reply is None:
                return
            self.send_response_only(reply.status)
            told = {name.lower(): value for name, value in reply.headers.items()}
            length = told.pop("content-length", "0") if self.command == "HEAD" else str(len(reply.body))
            for name, value in {**told, "content-length": length, "connection": "close"}.items():
                if name != "transfer-encoding":
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else reply.body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    return Handler


def refusing(code: str, status: int = 403, message: str = "no", date: str = "") -> Reply:
    """An error as S3 writes it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(
        status, body.encode(), {"Content-Type": "application/xml", **({"Date": date} if date else {})}
    )


def state(home: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads((home / "cloud.json").read_text())
    return told
