"""PutSnapshotBlock with little around it: http.client, and botocore's credentials and signer.

boto3's whole call costs 2 ms of a core for each block, this one less than half: one core is enough for the 1,000 blocks a
second that EBS takes. Where requests must leave by a proxy that http.client cannot use, boto3 sends them. Times are seconds.
"""

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

from tasks.cloud.clients import AGENT, Cloud
from tasks.cloud.refusals import THROTTLED, code_of
from tasks.plan.delta import Write

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.exceptions import ClientError
    from mypy_boto3_ebs import EBSClient

CONNECT, READ = 5.0, 10.0  # a dead connection is noticed in seconds; a put takes 0.1 s
SLICE = (
    1 << 17
)  # bytes that are sent at once: so READ is about a line that stands still, not about one that is slow
OPERATION = "PutSnapshotBlock"
SPENT = {"INVALID_SNAPSHOT_ID", "SNAPSHOT_NOT_FOUND"}
PASSING = {
    "CONFLICTING_BLOCK_UPDATE",
    "WRITE_REQUEST_TIMEOUT",
}  # refusals that are over when it is tried again


class Line(Protocol):
    """What a worker sends its blocks by, one after the other. Errors are botocore's: ClientError for what EBS says, and
    ConnectionError or HTTPClientError for what stands between.
    """

    def put(self, snapshot: str, write: Write, data: memoryview) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Door:
    """Where puts go, and in whose name. Made once: reading the certificates alone costs 20 ms."""

    url: str  # the endpoint's
    region: str
    credentials: "Credentials"
    tls: ssl.SSLContext | None
    proxy: str = ""  # http://..., asked to CONNECT

    def line(self) -> Line:
        return Direct(self)

    def signed(self, path: str, write: Write, size: int) -> dict[str, str]:
        """The headers. Credentials that expire are fetched anew by botocore before they do.

        As the model of the service has it, the body is not signed, but its digest is. Without TLS botocore signs it all the same.
        """
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        headers = {
            "Content-Length": str(size),
            "Content-Type": "application/octet-stream",
            "User-Agent": AGENT,
            "x-amz-Checksum": base64.b64encode(bytes.fromhex(write.sha256)).decode(),
            "x-amz-Checksum-Algorithm": "SHA256",
            "x-amz-Data-Length": str(size),
        }
        if self.tls is None:
            headers["X-Amz-Content-SHA256"] = write.sha256
        request = AWSRequest("PUT", f"{self.url}{path}", headers)
        request.context["payload_signing_enabled"] = self.tls is None
        SigV4Auth(self.credentials.get_frozen_credentials(), "ebs", self.region).add_auth(request)
        return dict(request.headers.items())


class Direct:
    """One connection, kept alive."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.prefix = urlsplit(door.url).path.rstrip("/")
        self.connection = _connection(door)

    def put(self, snapshot: str, write: Write, data: memoryview) -> None:
        from botocore import exceptions as known

        path = f"/snapshots/{snapshot}/blocks/{write.index}"
        headers = self.door.signed(path, write, len(data))
        try:
            status, told, body = self._exchanged(f"{self.prefix}{path}", headers, data)
        except ssl.SSLCertVerificationError as error:
            raise known.SSLError(endpoint_url=self.door.url, error=error) from error
        except TimeoutError as error:
            raise known.ReadTimeoutError(endpoint_url=self.door.url, error=error) from error
        except (OSError, http.client.HTTPException) as error:
            raise known.HTTPClientError(error=error) from error
        if status not in (200, 201):
            raise refused(status, told, body)

    def _exchanged(
        self, path: str, headers: dict[str, str], data: memoryview
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        try:
            try:
                self.connection.request("PUT", path, body=_slices(data), headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                if self.connection.sock is None:  # it never came to be
                    raise
                # Who refuses a block may say so, and hang up, before all of it has come.
            reply = self.connection.getresponse()
            return reply.status, reply.headers, reply.read()
        except BaseException:
            self.close()  # whatever comes by it now belongs to nobody
            raise

    def close(self) -> None:
        self.connection.close()


def _slices(data: memoryview) -> Iterator[memoryview]:
    for at in range(0, len(data), SLICE):
        yield data[at : at + SLICE]


def _connection(door: Door) -> http.client.HTTPConnection:
    parts = urlsplit(door.url)
    host = parts.hostname or ""
    if door.tls is None:
        return Plain(host, parts.port, timeout=CONNECT)
    if not door.proxy:
        return Secured(host, parts.port, timeout=CONNECT, context=door.tls)
    proxy = urlsplit(door.proxy)
    made = Secured(proxy.hostname or "", proxy.port or 80, timeout=CONNECT, context=door.tls)
    made.set_tunnel(host, parts.port or 443, _admission(proxy.username, proxy.password))
    return made


def _admission(user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        return {}
    said = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(said).decode()}"}


class Plain(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ)


class Secured(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ)


@dataclass(frozen=True)
class Detour:
    """By boto3: for a proxy that wants TLS itself, or stands before an endpoint without."""

    client: "EBSClient"

    def line(self) -> Line:
        return self

    def put(self, snapshot: str, write: Write, data: memoryview) -> None:
        self.client.put_snapshot_block(
            SnapshotId=snapshot,
            BlockIndex=write.index,
            BlockData=bytes(data),
            DataLength=len(data),
            Checksum=base64.b64encode(bytes.fromhex(write.sha256)).decode(),
            ChecksumAlgorithm="SHA256",
        )

    def close(self) -> None: ...


def road(cloud: Cloud, most: int) -> Door | Detour:
    """The way to a cloud's EBS, for up to `most` workers."""
    from botocore.config import Config

    client = cloud.ebs()
    url, proxy = client.meta.endpoint_url.rstrip("/"), cloud.proxy_to(client.meta.endpoint_url)
    secure = urlsplit(url).scheme == "https"
    credentials = cloud.session.get_credentials()
    if credentials is None or (proxy and not (secure and urlsplit(proxy).scheme == "http")):
        config = Config(
            retries={
                "total_max_attempts": 1
            },  # who tries again, and when, is decided by who sees all workers
            connect_timeout=CONNECT,
            read_timeout=READ,
            max_pool_connections=most,
        )
        return Detour(cloud.ebs(config))
    tls = ssl.create_default_context(cafile=cloud.certificates()) if secure else None
    return Door(url, client.meta.region_name, credentials, tls, proxy)


def refused(status: int, headers: http.client.HTTPMessage, body: bytes) -> "ClientError":
    """An answer that is no success, as boto3 would raise it."""
    from botocore.exceptions import ClientError

    try:
        said = json.loads(body)
    except ValueError:  # a proxy's page, or nothing
        said = {}
    said = said if isinstance(said, dict) else {}
    code = headers.get("x-amzn-ErrorType") or said.get("code") or said.get("__type") or str(status)
    message = said.get("message") or said.get("Message") or body[:200].decode(errors="replace")
    response: Any = {
        "Error": {"Code": str(code).partition(":")[0].rpartition("#")[2], "Message": str(message)},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "HTTPHeaders": {key.lower(): value for key, value in headers.items()},
            "RequestId": headers.get("x-amzn-RequestId", ""),
            "HostId": "",
            "RetryAttempts": 0,
        },
        "Reason": str(said.get("Reason", "")),
    }
    return ClientError(response, OPERATION)


def reason_of(error: "ClientError") -> str:
    return str(error.response.get("Reason") or "")


def throttles(error: "ClientError") -> bool:
    return code_of(error) in THROTTLED or _status(error) in (429, 503)


def passes(error: "ClientError") -> bool:
    """Whether the same request may do better in a moment."""
    return _status(error) >= 500 or _status(error) == 408 or reason_of(error) in PASSING  # noqa: PLR2004 - HTTP's own


def spent(error: "ClientError") -> bool:
    """Whether the snapshot takes no more blocks: it is deleted, given up, or completed."""
    return code_of(error) == "ResourceNotFoundException" or reason_of(error) in SPENT


def _status(error: "ClientError") -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
