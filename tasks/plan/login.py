"""How one logs in to an instance: the host keys it showed on its console, and the command line of ssh. Pure."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.kit.qemu import HOST_KEY, SHOWN
from tasks.plan.machine import Era
from tasks.spec.record import Launched

SSH = 22
# OpenSSH 3.9 signs with SHA-1, and exchanges keys by it: what a client of today does only when it is told to.
OPTIONS: Mapping[Era, Mapping[str, str]] = {
    "today": {},
    "2008": {
        "HostKeyAlgorithms": "+ssh-rsa",
        "PubkeyAcceptedAlgorithms": "+ssh-rsa",
        "KexAlgorithms": "+diffie-hellman-group14-sha1",
    },
}
PATIENCE = 30  # seconds for a connection: an emulated processor takes ten over the key exchange


def shown(console: str) -> tuple[str, ...]:
    """The host keys between the lines that EC2's users look for; of several such places, the first: that of the first boot."""
    found = SHOWN.search(console)
    return tuple(dict.fromkeys(HOST_KEY.findall(found[1]))) if found else ()


def known_hosts(keys: Mapping[str, tuple[str, ...]]) -> str:
    """By instance id: an address may be somebody else's tomorrow."""
    return "".join(f"{name} {key}\n" for name, each in sorted(keys.items()) for key in each)


@dataclass(frozen=True)
class Login:
    """Where the console showed no host keys, the first answer is believed, and kept."""

    to: Launched
    user: str
    key: Path
    known_hosts: Path
    era: Era

    def argv(self, command: str = "") -> tuple[str, ...]:
        """Nothing of the user's own configuration is read, and no question asked."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(PATIENCE),
            "HostKeyAlias": self.to.id,
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes" if self.to.host_keys else "accept-new",
            "UserKnownHostsFile": _quoted(self.known_hosts),
            **OPTIONS[self.era],
        }
        settings = tuple(f"-o{name}={value}" for name, value in options.items())
        where = ("-p", str(self.to.port), f"{self.user}@{self.to.address}")
        return (
            "ssh",
            "-F",
            "none",
            "-i",
            str(self.key),
            *settings,
            *where,
            *((command,) if command else ()),
        )

    def __str__(self) -> str:
        """As one types it."""
        return shlex.join(self.argv())


def _quoted(path: Path) -> str:
    """ssh reads this option as words, and puts something in the place of each %."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if re.search(r"\s", text) else text
