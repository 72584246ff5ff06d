"""A running QEMU, told to open and close ports: a client of its machine protocol (QMP), over a socket of the file system."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import SocketIO
from typing import Any

from tasks.kit.fault import ToolFault

PATIENCE = 10.0  # seconds; it answers at once, unless another client is at it
NETDEV = "net"  # what the machine's network is called


def open_port(control: Path, guest: int, here: int, *, protocol: str = "tcp") -> None:
    """From now on 127.0.0.1:`here` leads to the guest's port. Raises ToolFault when QEMU is gone or the port is taken."""
    _monitor(control, f"hostfwd_add {NETDEV} {protocol}:127.0.0.1:{here}-:{guest}", well="")


def close_port(control: Path, here: int, *, protocol: str = "tcp") -> None:
    """Nobody new is let in by it; connections that stand go on. Raises ToolFault when it was not open."""
    _monitor(control, f"hostfwd_remove {NETDEV} {protocol}:127.0.0.1:{here}", well=" removed")


def reset(control: Path) -> None:
    """As by its reset button."""
    _tell(control, "system_reset")


def press_power(control: Path) -> None:
    """What the guest does about it is the guest's affair."""
    _tell(control, "system_powerdown")


def _tell(control: Path, what: str) -> None:
    with _talk(control) as file:
        _asked(file, what, {})


def _monitor(control: Path, line: str, *, well: str) -> None:
    """A command of the human monitor's, which alone has these: that it failed, only its words tell."""
    with _talk(control) as file:
        said = str(_asked(file, "human-monitor-command", {"command-line": line})).strip()
    if not said.endswith(well) or (said and not well):
        raise ToolFault(f"QEMU did not do it: {said}", evidence=[line], where=str(control))


@contextmanager
def _talk(control: Path) -> Iterator[SocketIO]:
    gone = "the machine may have ended"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(control))
            with connection.makefile("rwb", buffering=0) as file:
                file.readline()  # its greeting
                _asked(file, "qmp_capabilities", {})
                yield file
    except OSError as error:
        raise ToolFault(f"QEMU does not answer: {error}", where=str(control), hint=gone) from error
    except ValueError as error:  # no JSON
        raise ToolFault("QEMU ended in the middle of a word", where=str(control), hint=gone) from error


def _asked(file: SocketIO, what: str, arguments: dict[str, str]) -> Any:
    file.write(json.dumps({"execute": what, "arguments": arguments}).encode() + b"\n")
    file.flush()
    while True:
        answer = json.loads(file.readline())
        if "return" in answer:
            return answer["return"]
        if "error" in answer:  # whatever else comes is an event
            raise ToolFault(f"QEMU refused {what}: {answer['error'].get('desc')}")
