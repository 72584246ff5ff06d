"""A cloud on this machine, for building without an account: `endpoint` is all that the rest of the house sees of it."""

from tasks.cloud.local.door import Endpoint, endpoint, exists, forgotten, running, stop

__all__ = ["Endpoint", "endpoint", "exists", "forgotten", "running", "stop"]
