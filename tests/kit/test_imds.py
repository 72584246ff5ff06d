"""An instance is told of itself as EC2 tells it: version 2, with a token, byte for byte; and no request brings it down.

Each test runs the program as QEMU does: one process for a connection, with a socket for its standard input and output.
"""

import hashlib
import json
import shlex
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tasks.kit import imds
from tasks.kit.imds import Metadata

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"
SAMPLE = Metadata(
    instance_id="i-0123456789abcdef0",
    ami_id="ami-0123456789abcdef0",
    instance_type="m5.large",
    architecture="x86_64",
    region="eu-west-1",
    zone="eu-west-1b",
    account="123456789012",
    reservation_id="r-0123456789abcdef0",
    address="172.31.0.15",
    mac="52:54:00:12:34:56",
    launched="2026-11-23T10:11:12Z",
    public_address="127.0.0.1",
    key_name="mine",
    public_key="ssh-ed25519 AAAA mine\n",
    security_groups=("default", "web"),
    tags={"Name": "one", "doit-ami:image": "debian-12"},
)


class Talk:
    """A connection of the guest's."""

    def __init__(self, connection):
        self.connection = connection
        self.file = connection.makefile("rb")

    def say(self, what):
        self.connection.sendall(what)

    def answer(self):
        """(status, headers, body)."""
        status = int(self.file.readline().split()[1])
        lines = [line.decode().strip() for line in iter(self.file.readline, b"\r\n")]
        headers = dict(line.split(": ", 1) for line in lines)
        return status, headers, self.file.read(int(headers["Content-Length"]))


@contextmanager
def connected(folder):
    ours, theirs = socket.socketpair()
    argv = shlex.split(imds.command(folder, sys.executable))
    with subprocess.Popen(
        argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE
    ) as program:
        theirs.close()
        ours.settimeout(10)
        talk = Talk(ours)
        yield talk
        talk.file.close()
        ours.close()
        assert program.wait(timeout=10) == 0
        assert program.stderr is not None
        assert program.stderr.read() == b"", "what it says there the guest would read"


def asked(folder, method, path, **headers):
    with connected(folder) as talk:
        lines = [f"{method} {path} HTTP/1.1", "Host: 169.254.169.254", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        talk.say("\r\n".join((*lines, "", "")).encode())
        if method == "HEAD":
            return talk.file.read()
        return talk.answer()


def token(folder, seconds=60):
    status, headers, body = asked(folder, "PUT", "/latest/api/token", **{TTL: seconds})
    assert (status, headers[TTL.title()]) == (200, str(seconds))
    return body.decode()


def got(folder, path):
    status, _, body = asked(folder, "GET", path, **{TOKEN: token(folder)})
    return body.decode() if status == 200 else status


@pytest.fixture
def folder(tmp_path):
    imds.lay(tmp_path / "a, folder", SAMPLE)
    return tmp_path / "a, folder"


TOLD = (
    ("ami-id", "ami-0123456789abcdef0"),
    ("ami-launch-index", "0"),
    ("ami-manifest-path", "(unknown)"),
    ("block-device-mapping/root", "/dev/sda1"),
    ("hostname", "ip-172-31-0-15.eu-west-1.compute.internal"),
    ("instance-id", "i-0123456789abcdef0"),
    ("instance-type", "m5.large"),
    ("local-ipv4", "172.31.0.15"),
    ("mac", "52:54:00:12:34:56"),
    ("network/interfaces/macs/52:54:00:12:34:56/local-ipv4s", "172.31.0.15"),
    ("placement/availability-zone", "eu-west-1b"),
    ("placement/region", "eu-west-1"),
    ("public-hostname", "ec2-127-0-0-1.eu-west-1.compute.amazonaws.com"),
    ("public-ipv4", "127.0.0.1"),
    ("public-keys/", "0=mine"),
    ("public-keys/0/", "openssh-key"),
    ("public-keys/0/openssh-key", "ssh-ed25519 AAAA mine\n"),
    ("reservation-id", "r-0123456789abcdef0"),
    ("security-groups", "default\nweb"),
    ("tags/instance/", "Name\ndoit-ami:image"),
    ("tags/instance/doit-ami:image", "debian-12"),
    ("kernel-id", 404),
    ("iam/", 404),
    ("ami-idle", 404),
    ("ami-id/more", 404),
)


def test_an_instance_is_told_of_itself(folder):
    """Under the newest version, and under an old one; what there is nothing to say of is not there."""
    imds.lay(folder, replace(SAMPLE, tokens="optional"))
    wanted = {
        f"/{version}/meta-data/{path}": text
        for path, text in TOLD
        for version in ("latest", "2009-04-04")
    }
    told = {}
    with connected(folder) as talk:
        for path in wanted:
            talk.say(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            status, _, body = talk.answer()
            told[path] = body.decode() if status == 200 else status
    assert told == wanted


def test_folders_are_listed_as_ec2_lists_them(folder):
    """Those that lead on end with a slash, but not at the top."""
    versions = got(folder, "/").splitlines()
    assert (versions[0], versions[-2:]) == ("1.0", ["2021-03-23", "latest"])
    assert got(folder, "/latest/") == got(folder, "/latest") == "dynamic\nmeta-data"
    told = got(folder, "/latest/meta-data/").splitlines()
    assert {"ami-id", "block-device-mapping/", "placement/", "public-keys/", "tags/"} <= set(told)
    assert got(folder, "/latest/dynamic/") == "instance-identity/"
    assert got(folder, "/2038-01-19/meta-data/") == 404


def test_the_identity_document_is_json(folder):
    """As those read it who ask for the region."""
    document = json.loads(got(folder, "/latest/dynamic/instance-identity/document"))
    assert (document["region"], document["accountId"]) == ("eu-west-1", "123456789012")
    assert (document["imageId"], document["kernelId"]) == ("ami-0123456789abcdef0", None)


def test_an_instance_of_us_east_1_has_the_names_of_that_region():
    """Which is older than the scheme of the others."""
    home = replace(SAMPLE, region="us-east-1", public_address="1.2.3.4")
    assert home.hostname == "ip-172-31-0-15.ec2.internal"
    assert home.public_hostname == "ec2-1-2-3-4.compute-1.amazonaws.com"
    assert replace(home, public_address="").public_hostname == ""


def test_what_an_instance_has_not_is_not_told(folder):
    """No key, no public address, no tags: no such paths."""
    imds.lay(folder, replace(SAMPLE, public_key="", public_address="", tags={}))
    told = got(folder, "/latest/meta-data/").splitlines()
    assert not {"public-keys/", "public-ipv4", "public-hostname", "tags/"} & set(told)


def test_nothing_is_told_without_a_token(folder):
    """Nor with one that we did not give, nor with one that has run out."""
    path = "/latest/meta-data/ami-id"
    assert asked(folder, "GET", path)[0] == 401
    given = token(folder, 1)
    assert asked(folder, "GET", path, **{TOKEN: given})[0] == 200
    expires, _, seal = given.partition("-")
    for forged in ("", "-", f"{int(expires) + 9}-{seal}", f"{expires}-", "9" * 5000, "\u00e9-1"):
        assert asked(folder, "GET", path, **{TOKEN: forged})[0] == 401
    time.sleep(max(0.0, int(expires) - time.time()) + 0.1)
    assert asked(folder, "GET", path, **{TOKEN: given})[0] == 401


def test_a_token_is_good_for_one_instance_alone(folder, tmp_path):
    """And stays so when the instance is told something new."""
    given = token(folder)
    imds.lay(folder, replace(SAMPLE, instance_type="m5.xlarge"))
    status, headers, body = asked(folder, "GET", "/latest/meta-data/instance-type", **{TOKEN: given})
    assert (status, body) == (200, b"m5.xlarge")
    assert 50 <= int(headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"]) <= 60
    imds.lay(tmp_path / "other", SAMPLE)
    assert asked(tmp_path / "other", "GET", "/latest/meta-data/ami-id", **{TOKEN: given})[0] == 401


def test_where_tokens_are_optional_a_false_one_is_still_refused(folder):
    """As with `HttpTokens: optional`."""
    imds.lay(folder, replace(SAMPLE, tokens="optional"))
    path = "/latest/meta-data/ami-id"
    assert asked(folder, "GET", path)[0] == 200
    assert asked(folder, "GET", path, **{TOKEN: token(folder)})[0] == 200
    assert asked(folder, "GET", path, **{TOKEN: "1-1"})[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("PUT", "/latest/api/token", {}, 400),
        ("PUT", "/latest/api/token", {TTL: "0"}, 400),
        ("PUT", "/latest/api/token", {TTL: "21601"}, 400),
        ("PUT", "/latest/api/token", {TTL: "-1"}, 400),
        ("PUT", "/latest/api/token", {TTL: "9" * 5000}, 400),
        ("PUT", "/latest/api/token", {TTL: "60", "X-Forwarded-For": "10.0.0.1"}, 403),
        ("PUT", "/latest/api/token", {TTL: "21600"}, 200),
        ("GET", "/latest/api/token", {TTL: "60"}, 405),
        ("PUT", "/latest/meta-data/ami-id", {}, 405),
        ("POST", "/latest/user-data", {}, 405),
    ],
)
def test_a_request_that_is_not_granted_is_told_why(folder, method, path, headers, status):
    """By the status that AWS documents."""
    assert asked(folder, method, path, **headers)[0] == status


def test_a_service_that_is_switched_off_says_so(folder):
    """To those who ask for a token, too; and is switched on again while the instance runs."""
    imds.lay(folder, replace(SAMPLE, enabled=False))
    assert asked(folder, "PUT", "/latest/api/token", **{TTL: "60"})[0] == 403
    assert asked(folder, "GET", "/latest/meta-data/ami-id")[0] == 403
    imds.lay(folder, SAMPLE)
    assert got(folder, "/latest/meta-data/ami-id") == "ami-0123456789abcdef0"


def test_user_data_come_back_byte_for_byte(folder):
    """Whatever they are, and as large as EC2 takes them; none at all are not there."""
    assert got(folder, "/latest/user-data") == 404
    every = (bytes(range(256)) * 64)[: 16 << 10]
    imds.lay(folder, replace(SAMPLE, user_data=every))
    status, headers, body = asked(folder, "GET", "/latest/user-data", **{TOKEN: token(folder)})
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    assert hashlib.sha256(body).digest() == hashlib.sha256(every).digest()
    assert got(folder, "/latest") == "dynamic\nmeta-data\nuser-data"
    imds.lay(folder, replace(SAMPLE, user_data=b""))
    assert got(folder, "/latest/user-data") == ""
    imds.lay(folder, SAMPLE)
    assert got(folder, "/latest/user-data") == 404


def test_head_tells_the_length_and_no_more(folder):
    """As of any HTTP server."""
    said = asked(folder, "HEAD", "/latest/meta-data/ami-id", **{TOKEN: token(folder)})
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 21\r\n" in said
    assert said.endswith(b"\r\n\r\n")


def test_one_connection_serves_many_requests(folder):
    """Also when they come all at once, or byte by byte, or with a body that nobody asked for."""
    with connected(folder) as talk:
        ask = f"PUT /latest/api/token HTTP/1.1\r\nHost: a\r\n{TTL}: 60\r\nContent-Length: 4\r\n\r\nbody"
        for byte in ask.encode():
            talk.say(bytes([byte]))
        status, _, given = talk.answer()
        assert status == 200
        one = f"GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: a\r\n{TOKEN}: {given.decode()}\r\n\r\n"
        talk.say(one.encode() * 3)
        assert [talk.answer()[2] for _ in range(3)] == [b"ami-0123456789abcdef0"] * 3


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /../../secret HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET latest HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: line\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (17 << 10),
    ],
    ids=[
        *(
            "TLS",
            "one word",
            "another version",
            "no host",
            "up and away",
            "no path",
            "no colon",
            "a folded line",
        ),
        *("no length", "too long a body", "chunks", "too long a head"),
    ],
)
def test_what_is_no_request_is_answered_with_400(folder, said):
    """And the connection ends: nobody knows what would come next."""
    with connected(folder) as talk:
        talk.say(said)
        assert talk.answer()[0] == 400
        assert talk.file.read(1) == b""


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", b"PUT /latest/api/token HTTP/1.1\r\nContent-Length: 9\r\nHost: a\r\n\r\n"]
)
def test_a_guest_that_hangs_up_leaves_nothing_behind(folder, said):
    """In the middle of a word, too."""
    with connected(folder) as talk:
        talk.say(said)


def test_an_old_client_is_served(folder):
    """HTTP/1.0 has no host, and is answered once; a proxy's client writes the whole address."""
    imds.lay(folder, replace(SAMPLE, tokens="optional"))
    with connected(folder) as talk:
        talk.say(b"GET http://169.254.169.254/latest/meta-data/ami-id?x=1 HTTP/1.0\r\n\r\n")
        assert talk.answer()[2] == b"ami-0123456789abcdef0"
        assert talk.file.read(1) == b""


def test_a_folder_that_is_damaged_is_an_error_of_the_server(folder):
    """It is no fault of the guest's."""
    (folder / "metadata.json").write_text("{")
    assert asked(folder, "GET", "/latest/")[0] == 500


def test_the_secret_and_the_user_data_are_for_nobody_else(folder):
    """Other users of the machine cannot give tokens, or read passwords."""
    imds.lay(folder, replace(SAMPLE, user_data=b"secret"))
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600
    assert (folder / "user-data").stat().st_mode & 0o777 == 0o600


def test_it_starts_in_no_time(folder):
    """A guest connects some ten times while it boots: nothing slow is imported for that."""
    code = "import sys; before = set(sys.modules); import imdshttp; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=imds.PROGRAM.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"typing", "pathlib", "socket", "dataclasses", "http", "inspect"} & set(
        done.stdout.split()
    )
