"""A mirror that says nothing is noticed before dnf waits for it; one that says anything at all is left to dnf."""

import socket
import threading
import time

import pytest

from tasks.distro.dnf import upstream
from tasks.kit.fault import ConfigFault, HostFault
from tasks.spec.source import YumRepository
from tests.mirrors import Mirror


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setattr(upstream, "ANSWER", 1.5)
    with Mirror(tmp_path) as made:
        yield made


def repository(name: str, **keys: object) -> YumRepository:
    return YumRepository.model_validate({"id": name, "gpgcheck": False, **keys})


def test_every_answer_will_do(mirror):
    """A refusal, a missing folder, a name that nobody knows, a folder of this machine: dnf tells of those."""
    mirror.refuse("refused/*", 503)
    wanted = [
        repository("absent", baseurl=f"{mirror.url}/absent"),
        repository("refused", baseurl=f"{mirror.url}/refused/"),
        repository("nobody", baseurl=f"{mirror.nobody}/x"),
        repository("local", baseurl="file:///no/such/folder"),
        repository("proxy", baseurl="http://far.invalid/x", proxy=mirror.url),
        repository("variable", baseurl=f"{mirror.url}/$dnfs_own"),
    ]
    upstream.look(wanted, {})
    asked = sorted(each.path for each in mirror.asked)
    repomd = "repodata/repomd.xml"
    assert asked == [f"/absent/{repomd}", f"/refused/{repomd}", f"http://far.invalid/x/{repomd}"]


def test_the_silent_are_told_together_and_soon(mirror):
    """Unless one of a repository's addresses answers."""
    mirror.delay("silent*", 60)
    silent = [f"{mirror.url}/silent{number}" for number in range(upstream.AT_ONCE)]
    wanted = [
        repository("some", baseurl=[silent[0], f"{mirror.url}/there"]),
        *(repository(f"r{number}", baseurl=url) for number, url in enumerate(silent[1:5])),
        repository("list", mirrorlist=f"{silent[5]}/$releasever/${{basearch}}"),
        repository("metalink", metalink=silent[6]),
    ]
    began = time.monotonic()
    with pytest.raises(HostFault) as caught:
        upstream.look(wanted, {"releasever": "4.7", "basearch": "i386"})
    assert time.monotonic() - began < 3 * upstream.ANSWER
    assert caught.value.evidence == (
        *(f"r{number}: {url}/repodata/repomd.xml" for number, url in enumerate(silent[1:5])),
        f"list: {silent[5]}/4.7/i386",
        f"metalink: {silent[6]}",
    )


def test_a_file_is_fetched_whole_or_the_reason_is_told(mirror):
    """What the server says, and how large is too large."""
    (mirror.folder / "file").write_bytes(b"x" * 100)
    assert upstream.fetched(f"{mirror.url}/file", proxy=None, largest=100) == b"x" * 100
    with pytest.raises(ConfigFault, match="is larger than 99 bytes"):
        upstream.fetched(f"{mirror.url}/file", proxy=None, largest=99)
    with pytest.raises(ConfigFault, match="the server says 404 Not Found"):
        upstream.fetched(f"{mirror.url}/none", proxy=None, largest=9)
    with pytest.raises(HostFault, match="Connection refused"):
        upstream.fetched(f"{mirror.nobody}/x", proxy=None, largest=9)
    with pytest.raises(HostFault, match="cannot be fetched"):
        upstream.fetched("http://[", proxy=None, largest=9)


def test_a_server_that_talks_another_language_is_told(tmp_path):
    """It is an answer, if not a good one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"

        def talk() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=talk, daemon=True).start()
        upstream.look([repository("mail", baseurl=url)], {})
        with pytest.raises(HostFault, match=r"cannot be fetched: 220 mail\.example"):
            upstream.fetched(url, proxy=None, largest=9)
