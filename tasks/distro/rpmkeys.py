"""The keys that RPMs are signed with, brought into a form that every rpm reads. Raises faults that name key and repository."""

import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from tasks.kit.fault import ConfigFault, Fault, HostFault, ToolFault
from tasks.kit.files import appearing
from tasks.kit.proc import Command, ask
from tasks.spec.source import YumRepository
from tasks.spec.tool import Tool

GPG = Tool("gpg", "to read the keys of RPM repositories", "gpg", "gnupg2")
ANSWER = 30.0  # seconds for a key of a few kilobytes
LARGEST = 1 << 20  # bytes: a key is not a distribution


def gather(repositories: Iterable[YumRepository], folder: Path) -> dict[str, tuple[str, ...]]:
    """Each repository's keys as file URLs below `folder`. Everything that is wrong with them is told at once."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, tuple[str, ...]] = {}
    made: dict[str, str] = {}
    wrong: list[tuple[YumRepository, str, Fault]] = []
    for each in repositories:
        for key in each.gpgkey:
            if key not in made:
                try:
                    made[key] = _made(key, folder / f"{len(made):02d}.asc")
                except Fault as fault:
                    wrong.append((each, key, fault))
        found[each.id] = tuple(made[key] for key in each.gpgkey if key in made)
    if wrong:
        raise ConfigFault(
            f"{len(wrong)} key(s) of `repositories` cannot be used",
            evidence=[f"{each.id}: gpgkey: {key}: {fault.problem}" for each, key, fault in wrong],
            hint="correct the path or the address; `gpgcheck: false` installs whatever the mirror serves",
        )
    return found


def _made(key: str, place: Path) -> str:
    data = _fetched(key) if "://" in key and not key.startswith("file://") else _read(key)
    with appearing(place) as scratch:
        scratch.write_text(_plain(data, place.with_suffix(".gpg")))
    return place.absolute().as_uri()


def _read(key: str) -> bytes:
    try:
        return Path(key.removeprefix("file://")).read_bytes()
    except OSError as error:
        raise ConfigFault(f"cannot be read: {error.strerror}") from error


def _fetched(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER) as answer:  # noqa: S310 - the model admits http, https and ftp
            data: bytes = answer.read(LARGEST)
            return data
    except urllib.error.HTTPError as error:
        raise ConfigFault(f"the server says {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise HostFault(f"no answer: {error}") from error


def _plain(data: bytes, scratch: Path) -> str:
    """In ASCII armour, without ElGamal subkeys: for one of those rpm refuses a whole key, such as CentOS 3's to 5's."""
    home = scratch.with_suffix(".home")
    home.mkdir(mode=0o700, exist_ok=True)
    gpg = (
        *("gpg", "--homedir", str(home), "--batch", "--no-autostart"),
        *("--no-default-keyring", "--keyring", str(scratch)),
    )
    scratch.unlink(missing_ok=True)
    export = ("--export-options", "export-minimal", "--export-filter", "drop-subkey=key_algo == 16")
    try:
        ask(Command((*gpg, "--no-auto-check-trustdb", "--import"), "read a public key", stdin=data))
        plain = ask(Command((*gpg, "--armor", *export, "--export"), "write a public key"))
    except ToolFault as fault:
        raise ConfigFault(f"is not a public key: {' '.join(fault.evidence[-1:])}") from fault
    finally:
        scratch.unlink(missing_ok=True)
        scratch.with_name(f"{scratch.name}~").unlink(missing_ok=True)
    if not plain.strip():
        raise ConfigFault("holds no public key")
    return plain
