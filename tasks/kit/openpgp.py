"""An OpenPGP key of one's own, and texts signed with it: by gpg, in memory that vanishes with the last of its processes.

Nothing is left of its homes, agents, sockets and locks; what is kept is one file, the private key without a passphrase.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tasks.kit import files
from tasks.kit.fault import HostFault, ToolFault
from tasks.kit.lock import alone
from tasks.kit.proc import Command
from tasks.kit.sandbox import Sandbox, mount_memory, sandbox

MEMORY = Path("/dev/shm")  # noqa: S108 - the sandbox's own
KIND = "rsa3072"  # what every apt reads; and its signatures are the same each time
BIRTH = 86400  # seconds since 1970: a signature of whatever time is younger than its key
HOME = {"GNUPGHOME": str(MEMORY / "gpg")}
GPG = ("gpg", "--batch", "--quiet", "--no-tty")


def keep(key: Path, owner: str) -> None:
    """A private key at `key`, made when there is none, and private. Raises HostFault when others can read it."""
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with alone(key.parent):
        if not key.exists():
            with _home() as box:
                make = ("--passphrase", "", "--quick-generate-key", owner, KIND, "sign", "never")
                box.ask(_gpg(*_clock(BIRTH), *make, purpose="make a key to sign with"))
                made = box.ask(_gpg("--armor", "--export-secret-keys", purpose="write the key"))
            files.write(key, made, mode=0o600)
    if key.stat().st_mode & 0o077:
        raise HostFault(f"{key.name} can be read by others", where=str(key), hint=f"chmod 600 {key}")


def signed(text: str, key: Path, when: int) -> tuple[str, str]:
    """The text with its signature around it, and the public key; the same input, the same bytes.

    The signature is of the time `when`, or as old as its key. Raises HostFault when the key cannot be used.
    """
    with _home() as box:
        try:
            box.ask(_gpg("--import", purpose="read the key to sign with", stdin=key))
            public = box.ask(_gpg("--armor", "--export", purpose="write the public key"))
            told = box.ask(_gpg("--with-colons", "--list-keys", purpose="ask when the key was made"))
            made = next(int(line.split(":")[5]) for line in told.splitlines() if line.startswith("pub:"))
            sign = (*_clock(max(when, made)), "--digest-algo", "SHA512", "--clearsign")
            return box.ask(_gpg(*sign, purpose="sign", stdin=text)), public
        except ToolFault as fault:
            raise HostFault(
                f"{key.name} is no key that can be signed with",
                evidence=fault.evidence,
                where=str(key),
                hint="put a private key without a passphrase there, or move the file away and a new one is made",
            ) from fault


@contextmanager
def _home() -> Iterator[Sandbox]:
    with sandbox() as box:
        mount_memory(box, MEMORY)
        box.run(Command(("install", "-d", "-m", "700", HOME["GNUPGHOME"]), "make gpg a home"))
        yield box


def _gpg(*argv: str, purpose: str, stdin: str | Path = "") -> Command:
    return Command((*GPG, *argv), purpose, stdin=stdin, env=HOME)


def _clock(when: int) -> tuple[str, str]:
    """What gpg takes for the time: it stands still."""
    return "--faked-system-time", f"{datetime.fromtimestamp(when, UTC):%Y%m%dT%H%M%S}!"
