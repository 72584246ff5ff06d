"""Whether an SSH server answers. Times are seconds."""

import socket

PATIENCE = 3.0  # for a connection, and for the first bytes once it stands


def greets(host: str, port: int, *, patience: float = PATIENCE) -> bool:
    """QEMU, and many a firewall, take every connection; only a server that is up says something."""
    try:
        with socket.create_connection((host, port), timeout=patience) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
