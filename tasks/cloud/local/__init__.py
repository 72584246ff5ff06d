"""A cloud on this machine, for building without an account: `door` is all that the rest of the house sees of it.

It was moto with a RegisterImage of ours. moto keeps everything in memory, each EBS block for ever, and loses it when it ends
(some of its state cannot be pickled, and its maintainers do not want it saved); what it does not know it passes over: of an
image it keeps name and description, of a snapshot neither size, parent nor check sums. To mend that is to replace its
backends, one by one, and to guard against the rest. What it does well, the wire, botocore's descriptions of the services do
as well: `wire/` reads requests and writes replies by them, in 800 lines. So: `wire` and `signature` say who asks what,
`dispatch` does it in one transaction of `store` or refuses it, each service is a table of functions, `machines` are QEMU's.
moto is still there, in the tests, as a judge of our clients.
"""

from tasks.cloud.local.door import Endpoint, endpoint, exists, forgotten, running, stop

__all__ = ["Endpoint", "endpoint", "exists", "forgotten", "running", "stop"]
