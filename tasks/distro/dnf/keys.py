"""The keys that RPMs are signed with, brought into a form that every rpm reads. Raises faults that name key and repository."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.distro.dnf import upstream
from tasks.kit import files
from tasks.kit.fault import ConfigFault, Fault, HostFault, ToolFault
from tasks.kit.parallel import in_order
from tasks.kit.proc import Command, ask
from tasks.spec.source import YumRepository
from tasks.spec.tool import Tool

GPG = Tool("gpg", "to read the keys of RPM repositories", "gpg", "gnupg2")
LARGEST = 1 << 20  # bytes: a key is not a distribution
HINT = "correct the path or the address; `gpgcheck: false` installs whatever the mirror serves"
NO_KEY = "no valid OpenPGP data found"  # gpg's words


def gather(repositories: Sequence[YumRepository], folder: Path) -> dict[str, tuple[str, ...]]:
    """Each repository's keys as file URLs below `folder`. Everything that is wrong with them is told at once."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(each, key) for each in repositories for key in each.gpgkey]
    through = {key: each.proxy for each, key in reversed(pairs)}
    jobs = [
        partial(_made, key, through[key], folder / f"{number:02d}.asc")
        for number, key in enumerate(through)
    ]
    made = dict(zip(through, in_order(jobs, threads=upstream.AT_ONCE, ahead=len(jobs)), strict=True))
    wrong = [(each, key, fault) for each, key in pairs if isinstance(fault := made[key], Fault)]
    if wrong:
        ours = any(isinstance(fault, ConfigFault) for _, _, fault in wrong)
        raise (ConfigFault if ours else HostFault)(
            f"{len({key for _, key, _ in wrong})} key(s) of `repositories` cannot be used",
            evidence=[f"{each.id}: gpgkey: {key}: {fault.problem}" for each, key, fault in wrong],
            hint=next((fault.hint for _, _, fault in wrong if fault.hint), HINT),
        )
    return {
        each.id: tuple(place for key in each.gpgkey if isinstance(place := made[key], str))
        for each in repositories
    }


def _made(key: str, proxy: str | None, place: Path) -> str | Fault:
    """The key's file URL, or why there is none."""
    try:
        files.write(place, _plain(_data(key, proxy)))
    except Fault as fault:
        return fault
    return place.absolute().as_uri()


def _data(key: str, proxy: str | None) -> bytes:
    if "://" in key and not key.startswith("file:"):
        return upstream.fetched(key, proxy=proxy, largest=LARGEST)
    try:
        return Path(unquote(urlsplit(key).path) if key.startswith("file:") else key).read_bytes()
    except OSError as error:
        raise ConfigFault(f"cannot be read: {error.strerror}") from error


def _plain(data: bytes) -> str:
    """In ASCII armour, without ElGamal subkeys: for one of those rpm refuses a whole key, such as CentOS 3's to 5's."""
    with tempfile.TemporaryDirectory(prefix="doit-ami-gpg-") as home:
        # Without an agent: it would outlive us, and has nothing to do for a public key.
        gpg = ("gpg", "--homedir", home, "--batch", "--no-autostart", "--no-auto-check-trustdb")
        ring = ("--no-default-keyring", "--keyring", f"{home}/key.gpg")
        export = (
            "--armor",
            *("--export-options", "export-minimal", "--export-filter", "drop-subkey=key_algo == 16"),
            "--export",
        )
        try:
            ask(Command((*gpg, *ring, "--import"), "read a public key", stdin=data))
            plain = ask(Command((*gpg, *ring, *export), "write a public key"))
        except ToolFault as fault:
            said = next(
                (line for line in fault.evidence if NO_KEY in line), "".join(fault.evidence[-1:])
            )
            raise ConfigFault(f"is not a public key: {said.removeprefix('gpg: ')}") from fault
    if not plain.strip():
        raise ConfigFault("holds no public key")
    return plain
