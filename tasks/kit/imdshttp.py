"""The instance metadata service as a guest meets it at 169.254.169.254: HTTP on stdin and stdout, one process a connection.

QEMU starts it when the guest connects, as inetd would: python -I -S imdshttp.py FOLDER. What it tells lies in the folder,
which imds.py lays; tokens are vouched for by the folder's secret, so that nothing is kept between connections. It
starts in some thirty milliseconds, and so imports little: nothing of ours.
"""

import hmac
import json
import os
import select
import sys
import time

# As EC2's own answers "/".
VERSIONS = (
    *(
        "1.0",
        "2007-01-19",
        "2007-03-01",
        "2007-08-29",
        "2007-10-10",
        "2007-12-15",
        "2008-02-01",
        "2008-09-01",
    ),
    *("2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20"),
    *("2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01"),
    *("2020-10-27", "2021-01-03", "2021-03-23", "latest"),
)
TOKEN_PATH = "latest/api/token"  # noqa: S105 - a path
TOKEN, TTL = "x-aws-ec2-metadata-token", "x-aws-ec2-metadata-token-ttl-seconds"
LONGEST_TTL = 21600  # seconds, as AWS has it
HEAD_MOST = 16 << 10  # bytes of a request before its body
BODY_MOST = 64 << 10  # nothing that is asked here has a body; a small one is passed over
DIGITS = 12  # of the longest number that anybody means
IDLE = 60.0  # seconds without a word, after which the connection is closed
PIECE = 16 << 10
REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
}
PAGE = (
    '<?xml version="1.0" encoding="iso-8859-1"?>\n'
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"'
    ' "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
    '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n <head>\n  <title>{0} - {1}</title>\n'
    " </head>\n <body>\n  <h1>{0} - {1}</h1>\n </body>\n</html>\n"
)

Headers = dict[str, str]


class Refused(Exception):
    """A request that has no answer but this status."""

    def __init__(self, status: int, headers: Headers | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or {}


class Gone(Exception):
    """Nobody is there any more."""


class Connection:
    """Requests in, answers out, over descriptors."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        self.pending = b""

    def _more(self) -> None:
        ready, _, _ = select.select([self.source], [], [], IDLE)
        piece = os.read(self.source, PIECE) if ready else b""
        if not piece:
            raise Gone
        self.pending += piece

    def head(self) -> list[str]:
        """The lines of a request before its body."""
        self.pending = self.pending.lstrip(
            b"\r\n"
        )  # RFC 9112, 2.2: empty lines before it are passed over
        while True:
            for end in (b"\r\n\r\n", b"\n\n"):
                head, found, rest = self.pending.partition(end)
                if found:
                    self.pending = rest
                    return head.decode("latin-1").replace("\r\n", "\n").split("\n")
            if len(self.pending) > HEAD_MOST:
                raise Refused(400)
            self._more()

    def pass_over(self, length: int) -> None:
        while len(self.pending) < length:
            self._more()
        self.pending = self.pending[length:]

    def say(self, answer: bytes) -> None:
        while answer:
            answer = answer[os.write(self.sink, answer) :]


class Request:
    def __init__(self, lines: list[str]) -> None:
        words = lines[0].split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1") or not words[0].isupper():  # noqa: PLR2004 - RFC 9112, 3
            raise Refused(400)
        self.method, target, version = words
        self.headers: Headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise Refused(400)
            self.headers[name.lower()] = value.strip()
        if version == "HTTP/1.1" and "host" not in self.headers:
            raise Refused(400)
        self.path = _path(target)
        asked = self.headers.get("connection", "").lower()
        self.last = "close" in asked or (version == "HTTP/1.0" and "keep-alive" not in asked)
        self.length = self._length()

    def _length(self) -> int:
        length = _number(self.headers.get("content-length", "0"))
        if "transfer-encoding" in self.headers or not 0 <= length <= BODY_MOST:
            raise Refused(400)
        return length


def _number(text: str) -> int:
    """Of a header; less than nothing if it is none that anybody would mean."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS else -1


def _path(target: str) -> str:
    """Without the host that a proxy's client writes, without the query, and without needless slashes."""
    if target.lower().startswith("http://"):
        target = "/" + target[7:].partition("/")[2]
    if not target.startswith("/"):
        raise Refused(400)
    parts = [part for part in target.partition("?")[0].split("/") if part]
    if ".." in parts:
        raise Refused(400)
    return "/".join(parts)


def _read(folder: str, name: str) -> bytes:
    with open(os.path.join(folder, name), "rb") as file:  # noqa: PTH118, PTH123 - pathlib takes as long to import as the rest
        return file.read()


def token(secret: bytes, expires: int) -> str:
    return f"{expires}-{hmac.digest(secret, b'%d' % expires, 'sha256').hex()}"


def left(secret: bytes, given: str) -> int:
    """Seconds that a token is good for; none if we did not give it."""
    expires = _number(given.partition("-")[0])
    good = hmac.compare_digest(given.encode("latin-1"), token(secret, expires).encode())
    return max(0, expires - int(time.time())) if good else 0


class Service:
    """What is told of one instance. A listing that stands under its own path, with a slash, is told as it stands."""

    def __init__(self, folder: str) -> None:
        told = json.loads(_read(folder, "metadata.json"))
        self.paths: dict[str, str] = told["paths"]
        self.enabled: bool = told["enabled"]
        self.required: bool = told["tokens"] == "required"
        self.secret = _read(folder, "secret")
        self.folder = folder

    def answer(self, request: Request) -> tuple[bytes, Headers]:
        """Raises Refused."""
        if not self.enabled:
            raise Refused(403)
        if request.path == TOKEN_PATH:
            return self._token(request)
        if request.method not in ("GET", "HEAD"):
            raise Refused(405, {"Allow": "OPTIONS, GET, HEAD"})
        given, headers = request.headers.get(TOKEN), {}
        if given is not None or self.required:
            seconds = left(self.secret, given or "")
            if not seconds:
                raise Refused(401)
            headers = {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": str(seconds)}
        return self._told(request.path, headers)

    def _token(self, request: Request) -> tuple[bytes, Headers]:
        if request.method != "PUT":
            raise Refused(405, {"Allow": "OPTIONS, PUT"})
        if "x-forwarded-for" in request.headers:  # AWS: a proxy that stands open shall get none
            raise Refused(403)
        seconds = _number(request.headers.get(TTL, ""))
        if not 1 <= seconds <= LONGEST_TTL:
            raise Refused(400)
        headers = {"Content-Type": "text/plain", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds": str(seconds)}
        return token(self.secret, int(time.time()) + seconds).encode(), headers

    def _told(self, path: str, headers: Headers) -> tuple[bytes, Headers]:
        plain = headers | {"Content-Type": "text/plain"}
        version, _, rest = path.partition("/")
        if not version:
            return "\n".join(VERSIONS).encode(), plain
        if version not in VERSIONS:
            raise Refused(404)
        if rest == "user-data":
            return self._user_data(), headers | {"Content-Type": "application/octet-stream"}
        if rest in self.paths:
            return self.paths[rest].encode(), plain
        listing = self._listing(f"{rest}/" if rest else "")
        if not listing:
            raise Refused(404)
        return listing.encode(), plain

    def _user_data(self) -> bytes:
        try:
            return _read(self.folder, "user-data")
        except FileNotFoundError:
            raise Refused(404) from None

    def _listing(self, folder: str) -> str:
        if folder in self.paths:
            return self.paths[folder]
        inside = (path[len(folder) :].partition("/") for path in self.paths if path.startswith(folder))
        names = {name + (slash if folder else "") for name, slash, _ in inside}
        if not folder and os.path.exists(os.path.join(self.folder, "user-data")):  # noqa: PTH110, PTH118 - as above
            names.add("user-data")
        return "\n".join(sorted(names))


def reply(status: int, body: bytes, headers: Headers, *, bare: bool, last: bool) -> bytes:
    """`bare`: without the body, as HEAD asks."""
    head = {
        "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        "Server": "EC2ws",
        "Content-Length": str(len(body)),
        "Connection": "close" if last else "keep-alive",
        **headers,
    }
    lines = (
        f"HTTP/1.1 {status} {REASONS[status]}",
        *(f"{name}: {value}" for name, value in head.items()),
    )
    return "\r\n".join((*lines, "", "")).encode() + (b"" if bare else body)


def _refusal(refused: Refused, *, bare: bool, last: bool) -> bytes:
    page = PAGE.format(refused.status, REASONS[refused.status]).encode()
    return reply(
        refused.status, page, refused.headers | {"Content-Type": "text/html"}, bare=bare, last=last
    )


def serve(connection: Connection, folder: str) -> None:
    """Until the guest has enough. What is no HTTP is told so once, and nothing after it is believed."""
    while True:
        try:
            request = Request(connection.head())
            connection.pass_over(request.length)
        except Refused as refused:
            connection.say(_refusal(refused, bare=False, last=True))
            return
        bare = request.method == "HEAD"
        try:
            body, headers = Service(folder).answer(request)
            connection.say(reply(200, body, headers, bare=bare, last=request.last))
        except Refused as refused:
            connection.say(_refusal(refused, bare=bare, last=request.last))
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, BrokenPipeError | ConnectionError):
                return
            connection.say(_refusal(Refused(500), bare=bare, last=True))
            return
        if request.last:
            return


def main(folder: str) -> None:
    try:
        serve(Connection(0, 1), folder)
    except (Gone, BrokenPipeError, ConnectionError):
        return


if __name__ == "__main__":
    main(sys.argv[1])
