"""KMS: keys that snapshots are encrypted with, as far as it matters whose they are and whether they are enabled."""

from tasks.cloud.local.kms import keys
from tasks.cloud.local.kms.service import SERVICE

__all__ = ["SERVICE", "keys"]
