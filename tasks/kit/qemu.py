"""A QEMU guest: switched on with the best accelerator that works, watched over its console, reached over SSH.

Times are seconds. The guest dies with us: its process is tied to ours like every other.
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tasks.kit.fault import Fault, ImageFault, ToolFault
from tasks.kit.proc import STDOUT, Command, Process, ask, spawn
from tasks.kit.report import Report

KVM = Path("/dev/kvm")
MEMINFO = Path("/proc/meminfo")
# The first words, of a kernel's or a firmware's, come within a second or two of power on, if the processor is what it
# claims to be. A KVM that is there but broken kills QEMU, reports an "internal error", or spins without a word: all were
# seen. Firmware and boot loader take their time before the kernel speaks: 4 to 6 s where all is emulated.
KVM_PATIENCE = 10.0
KERNEL_PATIENCE = 30.0
KVM_BROKEN = re.compile(r"KVM internal error.*|.*failed to set MSR.*|.*Could not access KVM.*")
KERNEL = re.compile(r"^\[ +\d+\.\d+\]", re.MULTILINE)
PANIC = re.compile(
    r"Kernel panic - not syncing[^\n]*|Entering emergency mode[^\n]*|You are in emergency mode[^\n]*|\(initramfs\)"
)
# What firmware and boot loaders say when there is nothing to boot. What they would do next is to wait for a person, or for
# a network; a boot sector that lacks the rest of its loader says its name for ever.
STUCK = re.compile(
    r"No bootable device|not a bootable disk|No bootable option or device was found|Boot failed: could not read"
    r"|>>Start (?:PXE|HTTP)|UEFI Interactive Shell|EFI Internal Shell|grub(?: rescue)? ?>|(?:GRUB ){4}"
)
SPOKE = re.compile(
    f"{KERNEL.pattern}|{STUCK.pattern}", re.MULTILINE
)  # a processor got as far as it could
REASON = re.compile(r"^error: .+$|^BdsDxe: failed .+$", re.MULTILINE)
LOADING = "Booting from Hard Disk..."  # SeaBIOS's last words; a loader speaks within a second
SPEECHLESS = 30.0
SHOWN = re.compile(r"BEGIN SSH HOST KEY KEYS(.*?)END SSH HOST KEY KEYS", re.DOTALL)
HOST_KEY = re.compile(r"(?:ecdsa-sha2-nistp256|ssh-ed25519|ssh-rsa) AAAA[A-Za-z0-9+/]+={0,2}")
CONTROL = re.compile(
    r"\x1b(?:\[[0-9;?=]*[A-Za-z]|c)|\0"
)  # colours, cursors; what would clear a reader's screen
POLL = 0.3
GREETING = 3.0  # for the first bytes of an SSH server, once a connection stands
LOGIN = 60.0  # for a login and a command: an emulated processor takes ten seconds over the key exchange
LAST = 25  # console lines that a fault quotes


@dataclass
class Guest:
    """`commands`: how to switch it on, by accelerator, in order of preference; `port`: on the loopback, leads to its 22.

    `name`: what faults call it; `firmware`: whether one comes first, and not a kernel.
    """

    commands: Mapping[str, Command]
    console: Path
    port: int
    user: str
    key: Path
    log: Path
    name: str = "the guest"
    firmware: bool = False
    ssh_options: Mapping[str, str] = field(default_factory=dict)  # beyond our own
    accelerator: str = ""
    because: str = ""  # why not the first accelerator
    process: Process | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def said(self) -> str:
        """The console so far, without what moves a cursor."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return CONTROL.sub("", text)

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
        while accelerator == "kvm" and not SPOKE.search(self.said):
            how = self._broken()
            if how or not self.running:
                self.off()
                return f"KVM is there but broken: {how or 'QEMU ended'}"
            time.sleep(POLL)
        return ""

    def _broken(self) -> str:
        """Why KVM will not do, as far as is known by now."""
        told = KVM_BROKEN.search("\n".join(_last(self.log)))
        if told:
            return told[0].strip()
        elapsed = time.monotonic() - self.began
        if elapsed > KVM_PATIENCE and not (self.firmware and self.said):
            first = "firmware" if self.firmware else "kernel"
            return f"the {first} said nothing within {KVM_PATIENCE:.0f} s"
        if elapsed > KERNEL_PATIENCE:
            return f"the kernel said nothing within {KERNEL_PATIENCE:.0f} s"
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
        while not self.arrived(timeout=timeout, report=report):
            time.sleep(POLL)
        return time.monotonic() - self.began

    def arrived(self, *, timeout: float, report: Report) -> bool:
        """Whether it lets the key in by now. Raises ImageFault when it never will."""
        said, elapsed = self.said, time.monotonic() - self.began
        panic = PANIC.search(said)
        if panic:
            raise self.fault(f"{self.name} did not come up: {panic[0]}")
        if self.firmware and not KERNEL.search(said):
            self._loads(said)
        if not self.running:
            raise self.fault(f"{self.name} switched itself off while it booted", _last(self.log))
        report.said(f"{self.name} with {self.accelerator}: {_last_line(said)[:60]}")
        if self._greets() and self._lets_in():
            return True
        if elapsed > timeout:
            raise self.fault(f"{self.name} let nobody in within {timeout:.0f} s")
        return False

    def _loads(self, said: str) -> None:
        """Raises ImageFault when firmware or boot loader have come to their end without a kernel."""
        why = "; ".join(dict.fromkeys(line.strip() for line in REASON.findall(said)))
        stuck = STUCK.search(said)
        if stuck:
            raise self.fault(f"{self.name} found nothing to boot: {why or stuck[0]}")
        silent = time.time() - self.console.stat().st_mtime
        if _last_line(said) == LOADING and silent > SPEECHLESS:
            raise self.fault(
                f"{self.name} found nothing to boot: the disk's boot sector is no boot loader"
            )

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
                raise self.fault(f"{self.name} is up, but does not let its key in", refused) from fault
            return False
        return True

    def ssh(self, command: str, *, stdin: str = "", timeout: float = LOGIN) -> str:
        """What a command inside answers. The host key is the one that the console showed, if it showed any."""
        known = self.console.with_suffix(".known_hosts")
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


def arrivals(guests: Sequence[Guest], *, timeout: float, report: Report) -> Iterator[tuple[int, float]]:
    """The number of each guest once it lets the key in, and seconds since power on. Raises as `Guest.wait` does."""
    waiting = dict(enumerate(guests))
    while waiting:
        for number, guest in tuple(waiting.items()):
            if guest.arrived(timeout=timeout, report=report):
                del waiting[number]
                yield number, time.monotonic() - guest.began
        time.sleep(POLL)


def available() -> int:
    """Bytes of memory that this machine could give."""
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) << 10


def free_port() -> int:
    """One that nobody listens on, on the loopback."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As many, each another."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _last(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-LAST:] if log.exists() else []


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no word yet"
