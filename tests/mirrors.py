"""A mirror on this machine: a folder of repositories over HTTP, a list of mirrors, every fault a real one has, and a record of who asked."""

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from fnmatch import fnmatchcase
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

CHUNK = 16 << 10  # bytes between two looks at the faults
SETTLED = 1.0  # seconds: what takes longer is an answer that is delayed on purpose
ENDING = 10.0  # seconds that open connections get to be closed in
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, as a machine does that went away


@dataclass(frozen=True)
class Asked:
    """One request, as it was answered. `sent` is bytes of body; no status means that we hung up."""

    method: str
    path: str  # with its query
    status: int | None
    sent: int
    range: str | None
    whole: bool  # nothing of what was asked for is missing


@dataclass
class Faults:
    statuses: dict[str, int] = field(default_factory=dict)  # by pattern
    delays: dict[str, float] = field(default_factory=dict)  # seconds, by pattern
    spoiled: list[str] = field(default_factory=list)
    budget: int | None = None  # bytes of body until the mirror dies
    dead: bool = False


class Mirror:
    """Serves `folder` while its block lasts. Patterns match a path below the folder, without its first slash: "base/*.rpm"."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults = Faults()
        self._asked: list[Asked] = []
        self._answering = 0  # requests
        self._idle = threading.Condition()
        self.lists: dict[str, tuple[str, ...]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        self._deaf = socket.socket()  # bound, so that nobody else gets the port; never listening
        self._deaf.bind(("127.0.0.1", 0))
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.mirror = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.end()
        self._deaf.close()

    @property
    def url(self) -> str:
        """Of the folder, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def nobody(self) -> str:
        """An address like `url`, where connections are refused."""
        return f"http://127.0.0.1:{self._deaf.getsockname()[1]}"

    @property
    def mirrorlist(self) -> str:
        return f"{self.url}/mirrorlist"

    def name_mirrors(self, *lines: str, query: str = "") -> None:
        """The lines of `/mirrorlist`; those of one query string, such as "release=4.7&arch=i386&repos=os", where it is given."""
        self.lists[query] = lines

    def refuse(self, pattern: str, status: int = 404) -> None:
        """Answer with this status and no file."""
        self.faults.statuses[pattern] = status

    def spoil(self, pattern: str) -> None:
        """Serve the file with a byte flipped in every block: its length is right, its checksum is not."""
        self.faults.spoiled.append(pattern)

    def delay(self, pattern: str, seconds: float) -> None:
        """Answer later."""
        self.faults.delays[pattern] = seconds

    def die_after(self, sent: int) -> None:
        """Break off after so many bytes of bodies, all files together, and hang up on everybody until `revive`."""
        self.faults.budget = sent

    def revive(self) -> None:
        self.faults.budget, self.faults.dead = None, False

    def heal(self) -> None:
        """Without any fault, from here on."""
        self.faults = Faults()

    def fetched(self, pattern: str = "*") -> list[str]:
        """The paths of files that were given out, in order: the whole, or the part that was asked for."""
        given = [each for each in self.asked if each.whole and each.status in (200, 206)]
        paths = [_path(each.path) for each in given if each.method == "GET"]
        return [path for path in paths if fnmatchcase(path, pattern)]

    @property
    def asked(self) -> list[Asked]:
        """What was asked until now. A client has its answer an instant before this is written down: that is waited for."""
        with self._idle:
            self._idle.wait_for(lambda: not self._answering, SETTLED)
            return list(self._asked)

    def forget(self) -> None:
        """What was asked until now."""
        with self._idle:
            self._idle.wait_for(lambda: not self._answering, SETTLED)
            self._asked = []

    @contextmanager
    def answering(self) -> Iterator[None]:
        with self._idle:
            self._answering += 1
        try:
            yield
        finally:
            with self._idle:
                self._answering -= 1
                self._idle.notify_all()

    def note(self, asked: Asked) -> None:
        with self._idle:
            self._asked.append(asked)

    def status(self, path: str) -> int | None:
        """The refusal that is ordered for a path, after the delay that is."""
        for pattern, seconds in list(self.faults.delays.items()):
            if fnmatchcase(path, pattern):
                self._closing.wait(seconds)
        return next(
            (status for pattern, status in self.faults.statuses.items() if fnmatchcase(path, pattern)),
            None,
        )

    def body(self, path: str, data: bytes) -> bytes:
        """What is served in place of a file's bytes."""
        if not any(fnmatchcase(path, pattern) for pattern in self.faults.spoiled):
            return data
        spoiled = bytearray(data)
        for at in range(len(data) // 2 % CHUNK, len(data), CHUNK):
            spoiled[at] ^= 0xFF
        return bytes(spoiled)

    def spend(self, wanted: int) -> int:
        """How many of so many bytes may still be sent. When it is less, the mirror is dead."""
        with self._lock:
            if self.faults.dead:
                return 0
            if self.faults.budget is None:
                return wanted
            granted = min(wanted, self.faults.budget)
            self.faults.budget -= granted
            self.faults.dead = granted < wanted
            return granted

    def listed(self, query: str) -> bytes | None:
        lines = self.lists.get(query, self.lists.get(""))
        return None if lines is None else "".join(f"{line}\n" for line in lines).encode()


def _path(target: str) -> str:
    """Below the folder, from what a client asks for; two slashes are one, as with every server of mirrors."""
    return re.sub("/+", "/", unquote(urlsplit(target).path)).lstrip("/")


class _Server(ThreadingHTTPServer):
    """One thread a connection; at the end every connection is closed, whatever its client would still like."""

    mirror: Mirror
    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._live: set[socket.socket] = set()
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._live.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._live.discard(request)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            for each in self._live:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._live, ENDING)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD, with Range, over connections that stay open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        if self.server.mirror.faults.dead:
            self._hang_up()
            return
        with suppress(ConnectionError):
            super().handle()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        with self.server.mirror.answering():
            self._get()

    def _get(self) -> None:
        mirror, path, query = self.server.mirror, _path(self.path), urlsplit(self.path).query
        if mirror.faults.dead:
            self._told(None, 0, whole=False)
            self._hang_up()
            return
        refusal = mirror.status(path)
        place = mirror.folder / path
        if refusal:
            self._answer(refusal, b"")
        elif path == "mirrorlist" or (not path and query):
            lines = mirror.listed(query)
            self._answer(404 if lines is None else 200, lines or b"")
        elif ".." in Path(path).parts or not place.is_file():
            self._answer(404, b"")
        else:
            self._file(path, place)

    def _file(self, path: str, place: Path) -> None:
        data, modified = self.server.mirror.body(path, place.read_bytes()), place.stat().st_mtime
        stamp = {"Last-Modified": formatdate(modified, usegmt=True), "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not wanted or not any(wanted.groups()):
            self._answer(200, data, stamp)
            return
        first, last = _span(wanted[1], wanted[2], len(data))
        if first > last:
            self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        within = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
        self._answer(206, data[first : last + 1], stamp | within)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status, HTTPStatus(status).phrase)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            self._told(status, 0, whole=True)
            return
        sent = 0
        try:
            while sent < len(body):
                piece = body[sent : sent + CHUNK]
                granted = self.server.mirror.spend(len(piece))
                self.wfile.write(piece[:granted])
                sent += granted
                if granted < len(piece):
                    self.wfile.flush()
                    self.close_connection = True
                    return
        finally:
            self._told(status, sent, whole=sent == len(body))

    def _told(self, status: int | None, sent: int, *, whole: bool) -> None:
        asked = Asked(self.command, self.path, status, sent, self.headers.get("Range"), whole)
        self.server.mirror.note(asked)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """The first and the last byte of a Range; "-500" are the last 500."""
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
