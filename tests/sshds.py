"""A real SSH server on the loopback, run by an ordinary user: Debian's, unpacked from its package, never installed."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.projects import ordinary_user

PACKAGES = ("openssh-server", "libwrap0")


@dataclass(frozen=True)
class Server:
    port: int
    user: str
    key: Path  # that it lets in
    host_key: str  # its public line


@pytest.fixture(scope="session")
def sshd_program(space: Path) -> Path:
    """To install it would open port 22 of this machine."""
    folder = space / "sshd"
    folder.mkdir()
    subprocess.run(
        ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder], check=True)
    return folder


@contextmanager
def serving(program: Path, at: Path, *, host_key: str = "ed25519") -> Iterator[Server]:
    at.mkdir(parents=True)
    at.chmod(0o755)
    user = ordinary_user() if os.geteuid() == 0 else os.environ["USER"]
    for name, kind in (("host", host_key), ("user", "ed25519")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", at / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (at / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\n"
        "StrictModes no\nUsePAM no\nPidFile none\nHostKeyAlgorithms +ssh-rsa\nPubkeyAcceptedAlgorithms +ssh-rsa\n"
        "KexAlgorithms +diffie-hellman-group14-sha1\n"
    )
    be: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(at / "host", user, user)
        be = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
    libraries = ":".join(str(each) for each in program.glob("usr/lib/*-linux-gnu"))
    process = subprocess.Popen(
        [*be, str(program / "usr/sbin/sshd"), "-D", "-e", "-f", str(at / "config")],
        env={"LD_LIBRARY_PATH": libraries, "PATH": os.environ["PATH"]},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not _listens(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Server(port, user, at / "user", " ".join((at / "host.pub").read_text().split()[:2]))
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def greeting(words: bytes = b"SSH-2.0-x\r\n") -> Iterator[int]:
    """What takes every connection, says its words and hangs up. Its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(words)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
