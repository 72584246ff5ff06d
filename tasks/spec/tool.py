"""What of the host's is needed: a program, or a file; why, and the package that brings it."""

import os
from dataclasses import dataclass
from pathlib import Path

from tasks.kit.fault import HostFault
from tasks.kit.proc import tool


@dataclass(frozen=True)
class Tool:
    """`files`: where it may lie, for what is no program; one of them is enough. Then `program` is what it is called in words."""

    program: str
    why: str
    apt: str
    dnf: str
    files: tuple[str, ...] = ()

    @property
    def found(self) -> Path | None:
        """Where it lies, if it is there."""
        if self.files:
            return next((path for path in map(Path, self.files) if path.exists()), None)
        program = tool(self.program)
        return Path(program) if program else None

    @property
    def path(self) -> Path:
        """Where it lies. Raises HostFault when it is not there."""
        if found := self.found:
            return found
        raise HostFault(
            f"{self.program} is not installed; it is needed {self.why}",
            evidence=[f"not there: {path}" for path in self.files],
            hint="doit host --install",
        )


TAR = Tool("tar", "to pack and unpack root file systems", "tar", "tar")
NEWUIDMAP = Tool("newuidmap", "to be root in the sandbox alone", "uidmap", "shadow-utils")
SANDBOX = (
    Tool("unshare", "to work in namespaces of one's own", "util-linux", "util-linux"),
    Tool("nsenter", "to run commands in them", "util-linux", "util-linux-core"),
    Tool("setpriv", "to let no child outlive us", "util-linux", "util-linux"),
    Tool("mount", "to mount inside the sandbox", "mount", "util-linux-core"),
    *(() if os.geteuid() == 0 else (NEWUIDMAP,)),
)
