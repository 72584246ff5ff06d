"""One instance: a thread that makes what is of what its row wants. Times are seconds.

The kernel ends a machine with the thread that started it, so the thread stays for as long as the machine runs.
"""

import threading
import traceback
from contextlib import suppress

from tasks.cloud.local.machines import bits, ports, states, told
from tasks.cloud.local.machines.bits import Start, Unfit
from tasks.cloud.local.machines.den import Den
from tasks.cloud.local.machines.guest import Guest, Refused
from tasks.cloud.local.machines.states import Row
from tasks.cloud.local.store import Thing
from tasks.kit import files, imds
from tasks.kit.fault import Fault
from tasks.plan import firmware, machine
from tasks.plan.machine import Beside, Flash, Machine

LOOK = 0.5  # between two looks at the machine, when nobody calls
SHUTDOWN = (
    120.0  # for a guest to end when its power button is pressed: an emulated one takes half a minute
)
BROKEN = "Server.InternalError"
GROUP = "security-group"


class Instance:
    def __init__(self, row: Row, refused: Refused, ending: threading.Event) -> None:
        self.row, self.refused, self.ending = row, refused, ending
        self.den = Den.of(row.store.home, row.identity)
        self.wake = threading.Event()
        self.guest: Guest | None = None
        self.open: ports.Open = {}
        self.resets = 0
        self.seen: object = None  # what the machine was last made to agree with
        self.done = False
        self.thread = threading.Thread(target=self._live, name=row.identity, daemon=True)
        self.thread.start()

    def _live(self) -> None:
        try:
            while not self.ending.is_set() and self._step():
                self.wake.wait(LOOK)
                self.wake.clear()
        except states.Gone:
            self._off()
            self.den.clear()
        except Exception as error:  # noqa: BLE001 - a bug of ours ends one instance, not the cloud; the log has it all
            traceback.print_exc()
            self._fail(BROKEN, f"a bug of the local cloud's: {error!r}")
        finally:
            self._off()
            self.done = True
            self.row.store.work.set()  # somebody may have wanted something while we were at the end

    def _step(self) -> bool:
        """Whether there is more to do."""
        thing = self.row.read()
        deeds = {
            "pending": self._start,
            "running": self._keep,
            "stopping": self._stop,
            "shutting-down": self._terminate,
        }
        deed = deeds.get(states.name_of(thing))
        return deed is not None and deed(thing)

    def _start(self, thing: Thing) -> bool:
        try:
            self._power_on(thing)
        except Unfit as unfit:
            return self._fail(unfit.code, str(unfit))
        except (Fault, OSError) as fault:
            return self._fail(BROKEN, str(fault))
        with self.row.change() as now:
            now["local"]["ran"] = True
            if states.name_of(now) == "pending":
                states.turn(now, "running")
        return True

    def _power_on(self, thing: Thing) -> None:
        start = (
            Start.of(self.den) if self.den.disk.exists() else bits.lay(self.row.store, thing, self.den)
        )
        self.resets, self.open, self.seen = thing["local"]["resets"], {}, None
        imds.lay(
            self.den.metadata, told.metadata(thing, self.row.account, self.row.region, start.devices)
        )
        plan = self._plan(thing, start)
        self.guest = Guest(plan, self.den, self.refused, lambda: not self.ending.is_set())
        try:
            self._agree(thing)
        except Fault:
            if self.guest.ended() is None:
                raise  # or the next look tells how it ended

    def _plan(self, thing: Thing, start: Start) -> Machine:
        local = thing["local"]
        volumes = [each["volume"] for each in local["volumes"]]
        return Machine(
            # Whose the lent kernel is, nobody says; this one runs those of i386 as well.
            "x86_64" if start.era == "2008" else thing["Architecture"],
            local["memory"],
            self.den.disk,
            self.den.kernel if start.kernel else None,
            self.den.initrd if start.initrd else None,
            start.arguments,
            {},  # opened once it runs, as those that are opened later
            self.den.console,
            "scsi" if start.era == "2008" else "nvme" if local["nitro"] else "virtio",
            uefi=self._uefi(thing),
            volume=volumes[0] if volumes else machine.VOLUME,
            beside=tuple(Beside(self.den.beside(each), each) for each in volumes[1:]),
            instance_id=thing["InstanceId"],
            instance_type=thing["InstanceType"],
            cores=local["cores"],
            address=thing["PrivateIpAddress"],
            mac=told.mac(thing),
            metadata=self.den.metadata,
            reboots=True,
        )

    def _uefi(self, thing: Thing) -> Flash | None:
        """With the variables that it has had since its first start. They begin empty: what an AMI may bring of them as its
        UefiData is in a format of EC2's own, which no firmware reads. Nor is there a TPM, whatever the AMI says of one.
        """
        if thing["CurrentInstanceBootMode"] != "uefi":
            return None
        code = firmware.uefi(thing["Architecture"]).path
        if not self.den.variables.exists():
            files.write(self.den.variables, firmware.variables(thing["Architecture"], code).read_bytes())
        return Flash(code, self.den.variables)

    def _keep(self, thing: Thing) -> bool:
        if self.guest is None:  # we were killed, and the machine with us
            return self._start(thing)
        status = self.guest.ended()
        if status is not None:
            return self._ended(thing, status)
        self.den.trim()
        with suppress(Fault):  # QEMU ended this instant, say: the next look tells
            self._agree(thing)
        return True

    def _agree(self, thing: Thing) -> None:
        """Ports, metadata and resets as the row, and the groups, have them."""
        assert self.guest is not None  # noqa: S101 - both callers have looked
        groups = self._groups(thing) if thing["local"]["public"] else []
        if (thing, groups) == self.seen:
            return
        wanted, beyond = ports.opened(groups)
        before = ports.told(states.tags_of(thing))
        self.open = ports.led(self.guest.control, wanted, self.open, before)
        tags = ports.retagged(thing, ports.tags(self.open, beyond))
        if tags != thing.get("Tags", []):
            with self.row.change() as now:
                now["Tags"] = ports.retagged(now, ports.tags(self.open, beyond))
        devices = Start.of(self.den).devices
        imds.lay(self.den.metadata, told.metadata(thing, self.row.account, self.row.region, devices))
        if thing["local"]["resets"] > self.resets:
            self.resets = thing["local"]["resets"]
            self.guest.reset()
        self.seen = (thing, groups)

    def _groups(self, thing: Thing) -> list[Thing]:
        store = self.row.store
        with store.lock:
            things = store.things(GROUP, self.row.account, self.row.region)
            found = [things.get(each["GroupId"]) for each in thing["SecurityGroups"]]
        return [group for group in found if group is not None]

    def _ended(self, thing: Thing, status: int) -> bool:
        """By itself: the guest switched it off, or QEMU broke."""
        assert self.guest is not None  # noqa: S101 - its end was seen
        why = self.guest.why(status)
        self._off()
        if status:
            return self._fail(BROKEN, why)
        with self.row.change() as now:
            ends = bool(now["local"]["shutdown"] == "terminate" or thing["RootDeviceType"] != "ebs")
            states.turn(now, "shutting-down" if ends else "stopped", "Client.InstanceInitiatedShutdown")
            self._leave(now)
        return ends

    def _stop(self, thing: Thing) -> bool:
        if self.guest:
            self.guest.shut_down(0.0 if thing["local"]["force"] else SHUTDOWN, self._stops)
        self._off()
        with self.row.change() as now:
            if states.name_of(now) == "stopping":
                states.turn(now, "stopped")
                self._leave(now)
        return True  # it may have been terminated meanwhile

    def _stops(self) -> bool:
        """Or it was terminated meanwhile, or the server is to end."""
        return not self.ending.is_set() and states.name_of(self.row.read()) == "stopping"

    def _terminate(self, _: Thing) -> bool:
        self._off()
        self.den.strip()
        with self.row.change() as now:
            states.turn(now, "terminated")
            self._leave(now)
        return False

    def _fail(self, code: str, message: str) -> bool:
        """What has a volume that it ran on stops, all else ends; either has its reason."""
        self._off()
        with self.row.change() as now:
            stops = now["RootDeviceType"] == "ebs" and now["local"]["ran"]
            states.turn(now, "stopped" if stops else "terminated", code, message)
            self._leave(now)
        if not stops:
            self.den.strip()
        return False

    def _leave(self, thing: Thing) -> None:
        """No port of it is led to any more; its volumes end with it."""
        thing["Tags"] = ports.retagged(thing, {})
        if states.name_of(thing) == "terminated":
            row = self.row
            volumes = row.store.things("volume", row.account, row.region)
            for each in thing["local"]["volumes"]:
                volumes.drop(each["volume"])

    def _off(self) -> None:
        if self.guest:
            self.guest.off()
            self.guest = None
