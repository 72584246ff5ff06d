"""KMS's table of operations."""

from tasks.cloud.local.call import Service

SERVICE = Service("kms")
