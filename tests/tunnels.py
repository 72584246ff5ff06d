"""What stands on the way to a cloud: an end of TLS, and a proxy that is asked to CONNECT. Bytes pass through as they are."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Tunnel:
    port: int
    heads: list[str] = field(default_factory=list)  # what a proxy was asked
    connections: int = 0


def certified(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for the loopback, signed by itself, as a file; and what a server needs to show it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return certificate, context


@contextmanager
def tunnel(to: tuple[str, int] | None, tls: ssl.SSLContext | None = None) -> Iterator[Tunnel]:
    """Leads to an address; without one, a proxy, that leads to wherever it is asked to CONNECT."""
    listener = socket.create_server(("127.0.0.1", 0))
    made = Tunnel(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            made.connections += 1
            thread = threading.Thread(target=_lead, args=(made, client, to, tls), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=serve, daemon=True)
    acceptor.start()
    try:
        yield made
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)


def _lead(
    made: Tunnel, client: socket.socket, to: tuple[str, int] | None, tls: ssl.SSLContext | None
) -> None:
    try:
        near = tls.wrap_socket(client, server_side=True) if tls else client
        if to is None:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += near.recv(1)
            made.heads.append(head.decode())
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            to = (host, int(port))
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        far = socket.create_connection(to)
    except OSError:
        client.close()
        return
    back = threading.Thread(target=_pump, args=(far, near), daemon=True)
    back.start()
    _pump(near, far)
    back.join(5)
    near.close()
    far.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for each in (sink, source):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
