"""Whoever wants something of a machine wakes the supervisor; it sees to it that each has its thread."""

import threading
import time
import traceback

from tasks.cloud.local.machines import guest, orphans
from tasks.cloud.local.machines.den import MACHINES, Den
from tasks.cloud.local.machines.instance import Instance
from tasks.cloud.local.machines.states import BUSY, KIND, Row, name_of
from tasks.cloud.local.store import Store, every

SHOWN = 3600.0  # seconds that an instance is told of after its end
ROUND = 60.0  # seconds between two looks for those that ended so long ago


class Supervisor:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.instances: dict[str, Instance] = {}
        self.refused = guest.Refused()
        self.ending = threading.Event()
        self._sweep()
        self.store.work.set()
        self.thread = threading.Thread(target=self._serve, name="machines", daemon=True)
        self.thread.start()

    @property
    def busy(self) -> bool:
        """Whether any machine runs."""
        return any(not each.done for each in tuple(self.instances.values()))

    def end(self) -> None:
        """No machine runs any more; their rows want them still."""
        self.ending.set()
        self.store.work.set()
        self.thread.join()
        for each in self.instances.values():
            each.wake.set()
        for each in self.instances.values():
            each.thread.join()

    def _serve(self) -> None:
        while not self.ending.is_set():
            self.store.work.wait(ROUND)
            self.store.work.clear()
            if not self.ending.is_set():
                try:
                    self._look()
                except OSError:  # of files that should have gone; the next look tries again
                    traceback.print_exc()

    def _look(self) -> None:
        self._forget()
        with self.store.lock:
            rows = every(self.store, KIND)
        for account, region, thing in rows:
            identity = thing["InstanceId"]
            held = self.instances.get(identity)
            if held and not held.done:
                held.wake.set()
            elif name_of(thing) in BUSY:
                row = Row(self.store, account, region, identity)
                self.instances[identity] = Instance(row, self.refused, self.ending)
            elif held:
                del self.instances[identity]

    def _forget(self) -> None:
        """Those that ended an hour ago, and their consoles."""
        with self.store.change():
            old = [
                (account, region, thing["InstanceId"])
                for account, region, thing in every(self.store, KIND)
                if name_of(thing) == "terminated" and time.time() > thing["local"]["since"] + SHOWN
            ]
            for account, region, identity in old:
                self.store.things(KIND, account, region).drop(identity)
        for _, _, identity in old:
            Den.of(self.store.home, identity).clear()

    def _sweep(self) -> None:
        """What a killed server left behind: files of instances that were never made, or have ended."""
        folder = self.store.home / MACHINES
        folder.mkdir(exist_ok=True)
        orphans.end(folder)
        with self.store.lock:
            found = {thing["InstanceId"]: name_of(thing) for _, _, thing in every(self.store, KIND)}
        for path in folder.iterdir():
            if path.name not in found:
                Den(path).clear()
            elif found[path.name] == "terminated":
                Den(path).strip()
