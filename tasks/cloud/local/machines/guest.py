"""A QEMU process: switched on with the best accelerator that works, told what to do, switched off. Times are seconds."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tasks.cloud.local.machines.den import Den
from tasks.kit import qmp
from tasks.kit.fault import ToolFault
from tasks.kit.proc import EVIDENCE, STDOUT, Command, Process, spawn
from tasks.kit.qemu import KERNEL, KVM, KVM_BROKEN, KVM_PATIENCE
from tasks.plan.machine import Accelerator, Machine, accelerators

STEP = 0.05
SILENT = "KVM is broken: the machine said nothing"
UP = 20.0  # for QEMU to take its control socket: tens of milliseconds, unless the machine is busy
Refused = dict[Accelerator, str]  # why an accelerator will not do: tried once, true for all


class Guest:
    """The process is tied to the thread that makes it."""

    def __init__(self, plan: Machine, den: Den, refused: Refused, wanted: Callable[[], bool]) -> None:
        """Raises ToolFault when no accelerator will do; gives up when it is not `wanted` any more."""
        self.den = den
        # A socket's path has 107 bytes at most, and home's may have more. And should we die before QEMU is tied to us,
        # it does not find its socket's folder, and ends.
        self.folder = os.open(den.path, os.O_RDONLY | os.O_DIRECTORY)
        self.control = Path(f"/proc/{os.getpid()}/fd/{self.folder}/control")
        self.process: Process | None = None
        try:
            self._power_on(replace(plan, control=self.control), refused, wanted)
        except BaseException:
            self.off()
            raise

    def _power_on(self, plan: Machine, refused: Refused, wanted: Callable[[], bool]) -> None:
        for each in accelerators(plan.architecture, os.uname().machine):
            if each == "kvm" and not os.access(KVM, os.R_OK | os.W_OK):
                refused[each] = "there is no KVM"
            if each in refused:
                continue
            self._start(plan.command(each))
            why = self._broken(plan, wanted) if each == "kvm" else self._absent()
            if not why:
                return
            self._kill()
            if (
                why != SILENT or plan.kernel or plan.uefi
            ):  # a BIOS, and its disk, may well be without a word
                refused[each] = why
        raise ToolFault(
            f"QEMU could not start: {'; '.join(refused.values())}",
            evidence=_last(self.den.log),
            where=str(self.den.log),
        )

    def _start(self, command: Command) -> None:
        self.den.turn()
        null = os.open(os.devnull, os.O_RDONLY)
        log = os.open(self.den.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self.process = spawn(command, stdin=null, stdout=log, stderr=STDOUT)
        finally:
            os.close(null)
            os.close(log)

    def _broken(self, plan: Machine, wanted: Callable[[], bool]) -> str:
        """Why KVM will not do, or nothing: a machine's first words prove that it does. Of a broken one there are none."""
        deadline = time.monotonic() + KVM_PATIENCE
        while wanted() and not self._spoke(plan):
            seen = KVM_BROKEN.search("\n".join(_last(self.den.log)))
            if seen or self.ended() is not None:
                return f"KVM is broken: {seen[0].strip() if seen else 'QEMU ended'}"
            if time.monotonic() > deadline:
                return SILENT
            time.sleep(STEP)
        return ""

    def _spoke(self, plan: Machine) -> bool:
        said = self.den.console.read_text(errors="replace") if self.den.console.exists() else ""
        return bool(KERNEL.search(said) if plan.kernel else said)

    def _absent(self) -> str:
        """Why it does not run, or nothing."""
        deadline = time.monotonic() + UP
        while not (self.den.path / "control").exists():
            if self.ended() == 0:
                return ""  # so quickly may a guest switch itself off
            if self.ended() is not None or time.monotonic() > deadline:
                return "QEMU ended as it began"
            time.sleep(STEP)
        return ""

    def ended(self) -> int | None:
        """How, if it has: 0 when the guest switched itself off."""
        return self.process.poll() if self.process else None

    def why(self, status: int) -> str:
        """In words, for who wonders."""
        return f"QEMU ended with {status}: {' '.join(_last(self.den.log)[-3:])}"

    def reset(self) -> None:
        qmp.reset(self.control)

    def shut_down(self, patience: float, wanted: Callable[[], bool]) -> None:
        """As by its power button; or, when that is not heeded, or not `wanted` any more, by its plug."""
        with suppress(ToolFault):
            qmp.press_power(self.control)
            deadline = time.monotonic() + patience
            while self.ended() is None and time.monotonic() < deadline and wanted():
                time.sleep(STEP)
        self.off()

    def off(self) -> None:
        self._kill()
        if self.folder >= 0:
            os.close(self.folder)
            self.folder = -1

    def _kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        (self.den.path / "control").unlink(missing_ok=True)


def _last(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-EVIDENCE:] if log.exists() else []
