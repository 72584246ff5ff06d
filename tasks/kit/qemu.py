"""A QEMU guest: switched on with the best accelerator that works, watched over its console, reached over SSH.

Times are seconds. The guest dies with us: its process is tied to ours like every other.
"""

import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.kit.fault import Fault, ImageFault, ToolFault
from tasks.kit.proc import STDOUT, Command, Process, ask, spawn
from tasks.kit.report import Report

KVM = Path("/dev/kvm")
# A kernel's first words come within a second of power on, if the processor is what it claims to be. A KVM that is
# there but broken kills QEMU, reports an "internal error", or spins without a word: all were seen.
KVM_PATIENCE = 10.0
KVM_BROKEN = re.compile(r"KVM internal error.*|.*failed to set MSR.*|.*Could not access KVM.*")
KERNEL = re.compile(r"^\[ +\d+\.\d+\]", re.MULTILINE)
PANIC = re.compile(
    r"Kernel panic - not syncing[^\n]*|Entering emergency mode[^\n]*|You are in emergency mode[^\n]*|\(initramfs\)"
)
SHOWN = re.compile(r"BEGIN SSH HOST KEY KEYS(.*?)END SSH HOST KEY KEYS", re.DOTALL)
HOST_KEY = re.compile(r"(?:ecdsa-sha2-nistp256|ssh-ed25519|ssh-rsa) AAAA[A-Za-z0-9+/]+={0,2}")
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
POLL = 0.3
GREETING = 3.0  # for the first bytes of an SSH server, once a connection stands
LOGIN = 60.0  # for a login and a command: an emulated processor takes ten seconds over the key exchange
LAST = 25  # console lines that a fault quotes


@dataclass
class Guest:
    """`commands`: how to switch it on, by accelerator, in order of preference; `port`: on the loopback, leads to its 22."""

    commands: Mapping[str, Command]
    console: Path
    port: int
    user: str
    key: Path
    log: Path
    ssh_options: Mapping[str, str] = field(default_factory=dict)  # beyond our own
    accelerator: str = ""
    because: str = ""  # why not the first accelerator
    process: Process | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def said(self) -> str:
        """The console so far."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    @property
    def host_keys(self) -> tuple[str, ...]:
        """The keys that it showed on its console, as an EC2 user would look for them."""
        shown = SHOWN.search(self.said)
        return tuple(HOST_KEY.findall(shown[1])) if shown else ()

    def power_on(self, report: Report) -> None:
        """Raises ToolFault when no accelerator will do."""
        for accelerator, command in self.commands.items():
            refusal = self._try(accelerator, command, report)
            if not refusal:
                self.accelerator = accelerator
                return
            self.because = f"{self.because}; {refusal}".removeprefix("; ")
        raise ToolFault(
            f"QEMU could not start: {self.because}", evidence=_last(self.log), where=str(self.log)
        )

    def _try(self, accelerator: str, command: Command, report: Report) -> str:
        """Start it; why it will not do, or nothing."""
        if accelerator == "kvm" and not os.access(KVM, os.R_OK | os.W_OK):
            return "no KVM: /dev/kvm is not there or may not be opened"
        report.said(f"booting with {accelerator}")
        self._start(command)
        deadline = self.began + KVM_PATIENCE
        while accelerator == "kvm" and not KERNEL.search(self.said):
            broken = KVM_BROKEN.search("\n".join(_last(self.log)))
            if broken or not self.running or time.monotonic() > deadline:
                self.off()
                how = (
                    broken[0].strip()
                    if broken
                    else f"the kernel said nothing within {KVM_PATIENCE:.0f} s"
                )
                return f"KVM is there but broken: {how}"
            time.sleep(POLL)
        return ""

    def _start(self, command: Command) -> None:
        self.console.parent.mkdir(parents=True, exist_ok=True)
        self.console.write_bytes(b"")
        null, log = (
            os.open(os.devnull, os.O_RDONLY),
            os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        )
        try:
            self.began = time.monotonic()
            self.process = spawn(command, stdin=null, stdout=log, stderr=STDOUT)
        finally:
            os.close(null)
            os.close(log)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def off(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait(self, *, timeout: float, report: Report) -> float:
        """Until it lets the key in: seconds since power on. Raises ImageFault when it panics, ends, hangs or refuses."""
        while True:
            elapsed = time.monotonic() - self.began
            panic = PANIC.search(self.said)
            if panic:
                raise self.fault(f"the guest did not come up: {panic[0]}")
            if not self.running:
                raise self.fault("the guest switched itself off while it booted", _last(self.log))
            if elapsed > timeout:
                raise self.fault(f"the guest let nobody in within {timeout:.0f} s")
            report.said(f"booting with {self.accelerator}: {(_last_line(self.said))[:60]}")
            if self._greets() and self._lets_in():
                return time.monotonic() - self.began
            time.sleep(POLL)

    def _greets(self) -> bool:
        """QEMU takes every connection; only a server that is up says something."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=GREETING) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _lets_in(self) -> bool:
        try:
            self.ssh("true")
        except ToolFault as fault:
            refused = [
                line
                for line in fault.evidence
                if "Permission denied" in line or "Host key verification" in line
            ]
            if refused:
                raise self.fault("the guest is up, but does not let its key in", refused) from fault
            return False
        return True

    def ssh(self, command: str, *, stdin: str = "", timeout: float = LOGIN) -> str:
        """What a command inside answers. The host key is the one that the console showed, if it showed any."""
        known = self.console.with_name("known_hosts")
        known.write_text("".join(f"guest {key}\n" for key in self.host_keys))
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": f"{timeout / 2:.0f}",
            "HostKeyAlias": "guest",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "yes" if self.host_keys else "no",
            "UserKnownHostsFile": str(known),
            **self.ssh_options,
        }
        settings = tuple(f"-o{name}={value}" for name, value in options.items())
        where = ("-p", str(self.port), f"{self.user}@127.0.0.1")
        argv = ("ssh", "-F", "none", "-i", str(self.key), *settings, *where, command)
        return ask(Command(argv, "log in to the guest", stdin=stdin), timeout=timeout)

    def fault(self, problem: str, evidence: Sequence[str] = ()) -> Fault:
        """With the last words of the console."""
        return ImageFault(
            problem,
            evidence=(*evidence, *self.said.splitlines()[-LAST:]),
            where=str(self.console),
            hint="the whole console is there; nothing is registered that did not boot",
        )


def free_port() -> int:
    """One that nobody listens on, on the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _last(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-LAST:] if log.exists() else []


def _last_line(text: str) -> str:
    lines = [line.strip() for line in COLOUR.sub("", text).splitlines() if line.strip()]
    return lines[-1] if lines else "no word yet"
