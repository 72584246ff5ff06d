"""To ask a person before something is destroyed. Nobody there to answer is a no, and so is any word but yes."""

import sys
from typing import IO

from tasks.kit.fault import Fault, HostFault

YES = {
    "name": "yes",
    "long": "yes",
    "type": bool,
    "default": False,
    "help": "do what the verdict says, and do not ask; yes=true is the same",
}


def confirm(question: str, *, yes: bool, again: str, into: IO[str] | None = None) -> None:
    """Returns when it was agreed to. `again` is the command that asks for no answer.

    Raises Fault otherwise: a no must stop what was to follow it, as in `doit terminate:x deregister:x`, or `... && rm`.
    """
    if yes:
        return
    out = into or sys.stdout
    if not sys.stdin or not sys.stdin.isatty():
        raise HostFault(
            "nothing was changed: there is no terminal to ask on",
            hint=f"read the verdict above, then: {again}",
        )
    out.write(f"{question} Type yes: ")
    out.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise Fault("nothing was changed: the answer was not yes")
