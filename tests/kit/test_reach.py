"""Whether an SSH server answers: told by its greeting, not by the connection."""

import socket

from tasks.kit.reach import greets
from tests.sshds import greeting


def test_a_server_that_greets_is_there():
    with greeting() as port:
        assert greets("127.0.0.1", port)


def test_what_takes_a_connection_and_says_nothing_is_no_server():
    """QEMU's user network does, long before the guest has booted."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not greets("127.0.0.1", silent.getsockname()[1], patience=0.1)


def test_another_service_is_no_ssh_server():
    with greeting(b"220 mail\r\n") as port:
        assert not greets("127.0.0.1", port)


def test_a_closed_port_is_no_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert not greets("127.0.0.1", free.getsockname()[1], patience=0.5)
