"""S3. Each module knows the operations of one kind; importing it makes them known."""

from tasks.cloud.local.s3 import (
    acl,
    buckets,
    listing,
    multipart,
    objects,
    reading,
    settings,
    uploads,
    writing,
)
from tasks.cloud.local.s3.service import SCHEMA, SERVICE
from tasks.cloud.local.s3.shelf import sweep

__all__ = [
    "SCHEMA",
    "SERVICE",
    "acl",
    "buckets",
    "listing",
    "multipart",
    "objects",
    "reading",
    "settings",
    "sweep",
    "uploads",
    "writing",
]
