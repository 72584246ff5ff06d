"""What an instance runs when it boots, run here by the same shell: with the real metadata service, and with what goes wrong.

Only the places are others: what lies in / of an instance lies in a folder here, and 169.254.169.254 is a port of the loopback.
"""

import shlex
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tasks.kit import imds
from tasks.kit.qemu import free_port
from tasks.plan.content import rendered
from tests.kit.test_imds import SAMPLE
from tests.projects import ROOT

EXTRA = "ssh-ed25519 AAAAextra colleague"
VALUES = {"authorized_keys": shlex.quote("/root/.ssh/authorized_keys"), "authorized_keys_mode": "0640"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nabcd"


@contextmanager
def serving(answer, port=0):
    """A port where each connection is `answer`ed."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            answer(self.request)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def real(folder):
    """The service, a process for each connection, as QEMU starts it."""
    argv = shlex.split(imds.command(folder, sys.executable))
    return lambda request: subprocess.run(
        argv, stdin=request.fileno(), stdout=request.fileno(), check=True
    )


@dataclass
class Instance:
    root: Path
    port: int = field(default_factory=free_port)

    @property
    def keys(self):
        return self.root / "root/.ssh/authorized_keys"

    @property
    def kept(self):
        return self.root / "var/lib/doit-ami/user-data"

    def told(self, **changes):
        """From now on the service says so."""
        imds.lay(self.root / "imds", replace(SAMPLE, **changes))

    def run(self, template):
        """(its exit status, what it said)."""
        there = self.root / "usr/local/lib/doit-ami"
        there.mkdir(parents=True, exist_ok=True)
        for name in ("imds.sh", template):
            text = rendered(name, (ROOT / "templates" / name).read_text(), VALUES)
            for folder in ("/usr/local/lib", "/var/lib", "/run/", "/root/", "/sys/"):
                text = text.replace(folder, f"{self.root}{folder}")
            text = text.replace("169.254.169.254/80", f"127.0.0.1/{self.port}")
            text = text.replace("limit=4 patience=5", "limit=1 patience=1").replace(
                "=10 patience=60", "=8 patience=3"
            )
            (there / name.removesuffix(".sh")).write_text(text)
        done = subprocess.run(
            ["bash", there / template.removesuffix(".sh")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def on_ec2(self):
        vendor = self.root / "sys/class/dmi/id/sys_vendor"
        vendor.parent.mkdir(parents=True)
        vendor.write_text("Amazon EC2\n")


@pytest.fixture
def instance(tmp_path):
    """An instance of SAMPLE's, with the real service."""
    here = Instance(tmp_path)
    here.on_ec2()
    here.told()
    with serving(real(tmp_path / "imds"), here.port):
        yield here


def test_the_key_of_the_instance_may_log_in(instance):
    """In a folder and a file that sshd accepts, of the mode that was asked for."""
    assert instance.run("metadata-key.sh") == (0, "the key of i-0123456789abcdef0 may log in\n")
    assert instance.keys.read_text() == "ssh-ed25519 AAAA mine\n"
    assert instance.keys.stat().st_mode & 0o777 == 0o640
    assert instance.keys.parent.stat().st_mode & 0o777 == 0o700


def test_what_its_user_does_with_the_keys_later_stays(instance):
    """It is asked for once: at the next boot nothing changes, whatever the service says."""
    instance.run("metadata-key.sh")
    instance.keys.write_text(f"{EXTRA}\n")
    instance.told(public_key="ssh-ed25519 BBBB new")
    assert instance.run("metadata-key.sh") == (0, "")
    assert instance.keys.read_text() == f"{EXTRA}\n"


def test_an_image_of_an_instance_forgets_its_key(instance):
    """Another instance is let in by another key, and by those that came another way."""
    instance.keys.parent.mkdir(parents=True)
    instance.keys.write_text(EXTRA)  # without a line's end
    instance.run("metadata-key.sh")
    assert instance.keys.read_text() == f"{EXTRA}\nssh-ed25519 AAAA mine\n"
    instance.told(instance_id="i-2", public_key="ssh-ed25519 BBBB new")
    instance.run("metadata-key.sh")
    assert instance.keys.read_text() == f"{EXTRA}\nssh-ed25519 BBBB new\n"
    instance.told(instance_id="i-3", public_key="")
    assert instance.run("metadata-key.sh") == (0, "i-3 was launched without a key: none was added\n")
    assert instance.keys.read_text() == f"{EXTRA}\n"


def test_whoever_is_stopped_midway_does_it_again(instance):
    """Between the keys and the note of it; no key stands twice."""
    instance.run("metadata-key.sh")
    (instance.root / "var/lib/doit-ami/key/instance-id").unlink()
    instance.run("metadata-key.sh")
    assert instance.keys.read_text() == "ssh-ed25519 AAAA mine\n"


@pytest.mark.parametrize("template", ["metadata-key.sh", "user-data.sh"])
def test_elsewhere_nobody_has_to_wait(tmp_path, template):
    """Where nobody answers, or nobody but a wall; it is no failure."""
    began = time.monotonic()
    assert Instance(tmp_path).run(template)[0] == 0
    with serving(lambda _: time.sleep(2)) as port:
        assert Instance(tmp_path, port).run(template)[0] == 0
    assert time.monotonic() - began < 20
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("template", ["metadata-key.sh", "user-data.sh"])
def test_on_ec2_a_service_that_does_not_answer_is_a_failure(tmp_path, template):
    """Seen as a failed unit; but where it is switched off, it was meant so."""
    here = Instance(tmp_path)
    here.on_ec2()
    assert here.run(template)[0] == 1
    here.told(enabled=False)
    began = time.monotonic()
    with serving(real(tmp_path / "imds"), here.port):
        assert here.run(template)[0] == 0
    assert time.monotonic() - began < 3, "at once"


def test_a_service_that_comes_late_is_waited_for(tmp_path):
    """An instance may be quicker than what it is told."""
    here = Instance(tmp_path)
    here.on_ec2()
    here.told()
    began = time.monotonic()

    def late(request):
        if time.monotonic() - began > 1:
            real(tmp_path / "imds")(request)

    with serving(late, here.port):
        assert here.run("metadata-key.sh")[0] == 0
    assert here.keys.exists()


def test_half_an_answer_is_none(tmp_path):
    """A key that was cut off would let nobody in, or half a script do harm."""
    here = Instance(tmp_path)
    here.on_ec2()

    def cut(request):
        asked = request.recv(1 << 16)
        request.sendall(OK % (4 if asked.startswith(b"PUT") else 9))

    with serving(cut, here.port):
        assert here.run("user-data.sh")[0] == 1
        assert here.run("metadata-key.sh")[0] == 1
    assert not here.keys.exists()
    assert not here.kept.exists()


def test_user_data_that_are_a_script_run_once(instance):
    """Not at the next boot; but on another instance that was made of this one."""
    script = f"#!/bin/sh\necho run as $(id -u), mask $(umask) | tee -a {instance.root}/ran\n".encode()
    instance.told(user_data=script)
    assert instance.run("user-data.sh")[0] == 0
    assert instance.run("user-data.sh") == (0, "")
    ran = instance.root / "ran"
    assert ran.read_text().count("run as") == 1
    assert "mask 0022" in ran.read_text()
    assert instance.kept.read_bytes() == script
    instance.told(user_data=script, instance_id="i-2")
    assert "run as" in instance.run("user-data.sh")[1]
    instance.told(instance_id="i-3")
    assert instance.run("user-data.sh") == (0, "")
    assert not instance.kept.exists(), "another's may hold secrets"


def test_a_script_that_fails_is_a_failure_once(instance):
    """Its unit fails, and says so; it is not tried again at each boot."""
    instance.told(user_data=b"#!/bin/sh\necho before; exit 3\n")
    assert instance.run("user-data.sh") == (3, "before\n")
    assert instance.run("user-data.sh") == (0, "")


@pytest.mark.parametrize(
    "data",
    [b"#cloud-config\nusers: []\n", bytes(range(256)) * 60, b"", b"\n#!/bin/sh\nexit 1\n", b"#"],
    ids=["cloud-init's", "binary", "nothing", "not at the beginning", "one byte"],
)
def test_other_user_data_are_kept_byte_for_byte(instance, data):
    """And are not run; nobody but root may read them."""
    instance.told(user_data=data)
    assert instance.run("user-data.sh") == (0, "")
    assert instance.kept.read_bytes() == data
    assert instance.kept.stat().st_mode & 0o777 == 0o600


def test_a_binary_that_begins_like_a_script_runs_whole(instance):
    """What follows its script part is the script's own: archives come this way."""
    data = (
        b'#!/bin/sh\ntail -c 256 "$0" | cmp - '
        + str(instance.root / "all").encode()
        + b" && echo whole; exit\n"
    )
    (instance.root / "all").write_bytes(bytes(range(256)))
    instance.told(user_data=data + bytes(range(256)))
    assert instance.run("user-data.sh") == (0, "whole\n")
