"""Which ports of an instance its security groups open to this machine, and where on the loopback each is led to.

What is led to is told as the cloud's own tag of the instance: `aws:local:tcp/22` is 127.0.0.1:40123.
"""

import socket
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Literal

from tasks.cloud.local.store import Thing
from tasks.kit import qmp
from tasks.kit.fault import ToolFault

HOST = "127.0.0.1"
HERE = ip_address(HOST)
TAG = "aws:local:"
BEYOND = f"{TAG}not-led-to"
MOST = 64  # of an instance: a range of all 65,535 is no reason to take as many here
FIRST = (22, 80, 443, 3389, 8080)  # of a range that is too long, these come before others
ALL = "-1"
ATTEMPTS = 5

Protocol = Literal["tcp", "udp"]
Port = tuple[Protocol, int]
Open = dict[Port, int]  # where on the loopback
KINDS: Mapping[Protocol, socket.SocketKind] = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def opened(groups: Iterable[Thing]) -> tuple[list[Port], int]:
    """The ports that are to be led to, and how many more are open."""
    rank = {port: number for number, port in enumerate(FIRST)}
    found = {(each, port) for each, first, last in _spans(groups) for port in range(first, last + 1)}
    ordered = sorted(found, key=lambda each: (rank.get(each[1], len(rank)), each[1], each[0]))
    return ordered[:MOST], len(ordered[MOST:])


def _spans(groups: Iterable[Thing]) -> Iterator[tuple[Protocol, int, int]]:
    """Protocol, first and last port of every rule that lets 127.0.0.1 in."""
    for rule in (rule for group in groups for rule in group["rules"]):
        cidr = rule.get("CidrIpv4")
        if rule["IsEgress"] or not cidr or HERE not in ip_network(cidr, strict=False):
            continue
        for protocol in KINDS:
            if rule["IpProtocol"] == ALL:
                yield protocol, 1, 65535
            elif rule["IpProtocol"] == protocol:
                yield protocol, max(1, rule["FromPort"]), rule["ToPort"]


def led(control: Path, wanted: Iterable[Port], now: Open, before: Open) -> Open:
    """What is open once the machine was told. `now`: what is open; `before`: where it was, to be there again if that is free."""
    wanted = list(wanted)
    for port in [port for port in now if port not in wanted]:
        qmp.close_port(control, now[port], protocol=port[0])
    kept = {port: here for port, here in now.items() if port in wanted}
    new = {port: _led(control, port, before.get(port)) for port in wanted if port not in kept}
    return kept | new


def _led(control: Path, port: Port, before: int | None) -> int:
    """Somebody may take a free port before we do: then another one."""
    for _ in range(ATTEMPTS - 1):
        here = before or _free(port[0])
        before = None
        try:
            qmp.open_port(control, port[1], here, protocol=port[0])
        except ToolFault:
            continue
        return here
    here = _free(port[0])
    qmp.open_port(control, port[1], here, protocol=port[0])
    return here


def _free(protocol: Protocol) -> int:
    with socket.socket(type=KINDS[protocol]) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def tags(ports: Open, beyond: int) -> dict[str, str]:
    found = {f"{TAG}{protocol}/{port}": f"{HOST}:{here}" for (protocol, port), here in ports.items()}
    return found | ({BEYOND: f"{beyond} more ports that are open"} if beyond else {})


def told(tags: Mapping[str, str]) -> Open:
    """`tags` back."""
    found: Open = {}
    for key, value in tags.items():
        protocol, _, port = key.removeprefix(TAG).partition("/")
        if key.startswith(TAG) and port and protocol in KINDS:
            found["udp" if protocol == "udp" else "tcp", int(port)] = int(value.rpartition(":")[2])
    return found


def retagged(thing: Thing, new: Mapping[str, str]) -> list[dict[str, Any]]:
    """The instance's tags, the cloud's own renewed."""
    kept = [tag for tag in thing.get("Tags", ()) if not tag["Key"].startswith(TAG)]
    return [*kept, *({"Key": key, "Value": value} for key, value in sorted(new.items()))]
