"""What can go wrong, as its reader meets it.

Fault
├── ConfigFault   a key or a value is wrong; nothing was touched
├── HostFault     this machine lacks a tool, a kernel feature, space or the right time; nothing was touched
├── ToolFault     a program of somebody else's ended badly
├── ImageFault    a file of ours is not what it should be: damaged, swapped, unbootable, unsafe
└── CloudFault    AWS, or what stands in for it, refused

Anything else that reaches the user is a bug of ours and keeps its traceback.
"""

from collections.abc import Iterable


class Fault(Exception):
    """What is wrong, the tool's own last words, where it is, and what to do about it."""

    def __init__(
        self, problem: str, *, where: str = "", hint: str = "", evidence: Iterable[str] = ()
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint
        self.evidence = tuple(evidence)

    def __str__(self) -> str:
        lines = [self.problem, *(f"    | {line}" for line in self.evidence)]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.hint:
            lines.append(f"  try:   {self.hint}")
        return "\n".join(lines)


class ConfigFault(Fault):
    pass


class HostFault(Fault):
    pass


class ToolFault(Fault):
    pass


class ImageFault(Fault):
    pass


class CloudFault(Fault):
    pass
