"""Objects as EC2 reads them. What S3's own clients do with them is in its other modules."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.cloud.local.s3 import acl, pieces, shelf
from tasks.cloud.local.s3.service import bucket_named, object_at
from tasks.cloud.local.store import Store


@dataclass(frozen=True)
class Stored:
    """An object as EC2 finds it. Its files stay as long as this is held, though the object be deleted or replaced."""

    account: str  # whose the bucket is, and with it the object
    region: str
    etag: str
    readable: bool  # by EC2: the ACL aws-exec-read, or one for everybody, in a bucket that has ACLs
    stream: shelf.Stream

    @property
    def size(self) -> int:
        return self.stream.size

    @property
    def files(self) -> tuple[Path, ...]:
        """Where the data lie, one after the other."""
        return self.stream.lease.paths

    def chunks(self) -> Iterator[bytes]:
        return iter(self.stream)

    def read(self) -> bytes:
        return b"".join(self.stream)


def fetch(store: Store, bucket: str, key: str) -> Stored | None:
    """None when there is no such bucket, or no such object in it. Inside a change or outside, in any thread."""
    with store.lock:
        place, found = bucket_named(store, bucket), object_at(store, bucket, key)
        if place is None or found is None:
            return None
        stream = pieces.stream(store, found.holder, 0, found.size)
        return Stored(
            place.account, place.region, found.etag, acl.readable_by_ec2(place, found.about), stream
        )
