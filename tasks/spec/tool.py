"""A program of the host's, why it is needed, and the package that brings it."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    program: str
    why: str
    apt: str
    dnf: str


TAR = Tool("tar", "to pack and unpack root file systems", "tar", "tar")
NEWUIDMAP = Tool("newuidmap", "to be root in the sandbox alone", "uidmap", "shadow-utils")
SANDBOX = (
    Tool("unshare", "to work in namespaces of one's own", "util-linux", "util-linux"),
    Tool("nsenter", "to run commands in them", "util-linux", "util-linux-core"),
    Tool("setpriv", "to let no child outlive us", "util-linux", "util-linux"),
    Tool("mount", "to mount inside the sandbox", "mount", "util-linux-core"),
    *(() if os.geteuid() == 0 else (NEWUIDMAP,)),
)
