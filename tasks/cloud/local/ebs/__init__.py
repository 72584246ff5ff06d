"""EBS's direct APIs: snapshots written and read block by block, without a volume or a machine."""

from tasks.cloud.local.ebs import reading, writing
from tasks.cloud.local.ebs.blocks import SCHEMA, Damaged, sweep
from tasks.cloud.local.ebs.service import SERVICE

__all__ = ["SCHEMA", "SERVICE", "Damaged", "reading", "sweep", "writing"]
