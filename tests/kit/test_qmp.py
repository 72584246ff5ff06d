"""Ports of a running machine are opened and closed: by a real QEMU, whose processor stands still."""

import json
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tasks.kit import qmp
from tasks.kit.fault import ToolFault
from tasks.kit.qemu import free_port


@pytest.fixture
def folder():
    """Whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def control(folder):
    """A machine that is switched on, and waits."""
    socket_at = folder / "control"
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-S", "-nodefaults", "-display", "none"]
    argv += ["-netdev", f"user,id={qmp.NETDEV},restrict=on"]
    argv += ["-device", f"virtio-net-pci,netdev={qmp.NETDEV}"]
    argv += ["-qmp", f"unix:{socket_at},server=on,wait=off"]
    with subprocess.Popen(argv) as machine:
        try:
            while not socket_at.exists():
                assert machine.poll() is None
                time.sleep(0.05)
            yield socket_at
        finally:
            machine.kill()


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_port_is_opened_and_closed(control):
    """As often as one likes."""
    port = free_port()
    for _ in range(3):
        assert not is_open(port)
        qmp.open_port(control, 22, port)
        assert is_open(port)
        qmp.close_port(control, port)
    assert not is_open(port)


def test_a_port_that_is_taken_is_told_of(control):
    """By somebody else's server, or by ourselves."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ToolFault, match="QEMU did not do it: Could not set up host forwarding rule"):
            qmp.open_port(control, 22, other.getsockname()[1])


def test_a_port_that_is_not_open_cannot_be_closed(control):
    """Whoever thinks so is mistaken about more than that."""
    with pytest.raises(ToolFault, match="not found"):
        qmp.close_port(control, free_port())


def test_a_machine_that_has_ended_is_told_of(folder):
    """It left its socket, or not even that."""
    with pytest.raises(ToolFault, match="QEMU does not answer") as caught:
        qmp.open_port(folder / "control", 22, 1)
    assert caught.value.hint == "the machine may have ended"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "control"))
    with pytest.raises(ToolFault, match="QEMU does not answer"):
        qmp.open_port(folder / "control", 22, 1)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"QMP": {}}], "in the middle of a word"),
        (
            [{"QMP": {}}, {"return": {}}, {"event": "STOP"}, {"error": {"desc": "no"}}],
            "refused human-monitor-command: no",
        ),
    ],
    ids=["ends", "refuses"],
)
def test_what_qemu_says_otherwise_is_told(folder, answers, said):
    """Events are none of our business; errors are."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "control"))
        server.listen()

        def play():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in answers))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1024):
                    pass

        thread = threading.Thread(target=play)
        thread.start()
        with pytest.raises(ToolFault, match=said):
            qmp.open_port(folder / "control", 22, 1)
        thread.join()
