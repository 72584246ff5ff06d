"""One transaction of dnf's, in the sandbox. What is wrong with it is told in the words of the configuration."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.distro import Wanted
from tasks.distro.dnf import aged, database, groups
from tasks.distro.dnf.release import BASEARCH, is_sysv
from tasks.distro.dnf.talk import Listener
from tasks.kit.fault import ToolFault
from tasks.kit.proc import Command, tool
from tasks.kit.report import Report
from tasks.kit.sandbox import Sandbox


def install(
    box: Sandbox, wanted: Wanted, tree: Path, settings: Path, report: Report, *options: str
) -> None:
    """All groups and packages. `settings`: the yum.conf, in the folder that is dnf's home."""
    dnf, listener = Dnf(box, wanted, tree, settings), Listener(report)
    try:
        meant = dnf.meant(listener)
        what = (*(f"@{group}" for group in meant), *wanted.packages)
        dnf.run(*options, "install", *what, purpose="install the packages", listener=listener)
    except ToolFault as fault:
        from tasks.distro.dnf.faults import Asked, told

        wrong = told(fault, listener, wanted, Asked(dnf.heard, dnf.signatures))
        if wrong:
            raise wrong from fault
    failed = listener.fault(allowed=wanted.yum.allow_failing)
    if failed:
        raise failed
    for each in listener.failed:
        left = ", and it is not installed" if each.left_out else ""
        report.noted(f"{each.told} failed, as it may{left}")


@dataclass(frozen=True)
class Dnf:
    box: Sandbox
    wanted: Wanted
    tree: Path
    settings: Path

    @property
    def home(self) -> Path:
        return self.settings.parent

    @property
    def command(self) -> tuple[str, ...]:
        """Without its verb. dnf5, without --use-host-config, takes nothing from the host but what is named here."""
        wanted = self.wanted
        return (
            *("dnf", "-y", "-c", str(self.settings), f"--installroot={self.tree}"),
            *(f"--releasever={wanted.release}", f"--forcearch={BASEARCH[wanted.architecture]}"),
        )

    @property
    def env(self) -> Mapping[str, str]:
        old = is_sysv(self.wanted.distro, self.wanted.release)
        return {
            "HOME": str(self.home),
            "SOURCE_DATE_EPOCH": str(self.wanted.epoch),
            "PYTHONUNBUFFERED": "1",
            "FORCE_COLUMNS": "400",  # or dnf5 cuts its complaints at 80
            **(aged.environment(self.home) if old else {}),
        }

    def run(self, *argv: str, purpose: str, listener: Listener) -> None:
        self.box.run(Command((*self.command, *argv), purpose, env=self.env), seen=listener)

    def meant(self, listener: Listener) -> tuple[str, ...]:
        """The groups, as the dnf that is here knows them."""
        wanted = self.wanted.groups
        if not wanted or Path(tool("dnf") or "").resolve().name != "dnf5":
            return wanted
        for query in groups.ALL:
            self.run(*query, purpose="ask which groups there are", listener=listener)
        return groups.ids(wanted, listener.said)

    def heard(self, *query: str) -> list[str]:
        """What it answers, whether it ends well or not."""
        return self._heard((*self.command, *query))

    def signatures(self, names: Iterable[str]) -> list[str]:
        """What rpm says of those of packages that were fetched, by the names of their files."""
        found = (str(each) for name in set(names) for each in self.home.glob(f"cache/*/packages/{name}"))
        place = database.place(self.wanted.distro, self.wanted.release)
        return self._heard(("rpmkeys", f"--dbpath={self.tree}{place}", "-Kv", *sorted(found)))

    def _heard(self, argv: tuple[str, ...]) -> list[str]:
        lines: list[str] = []
        # Not for the log: these may be the names of all packages that there are.
        quiet = replace(self.box, log=None)
        with suppress(ToolFault):
            quiet.run(Command(argv, "ask what is wrong", env=self.env), seen=lines.append)
        return lines
