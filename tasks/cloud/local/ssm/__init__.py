"""SSM's Parameter Store: where an account writes down which image is the newest."""

from tasks.cloud.local.ssm import reading, writing
from tasks.cloud.local.ssm.service import SERVICE

__all__ = ["SERVICE", "reading", "writing"]
