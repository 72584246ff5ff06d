"""What S3's modules share: the table of operations, the tables of rows, the bucket and the object that are asked for."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tasks.cloud.local.call import Answer, Call, Deed, Service
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3.integrity import verify
from tasks.cloud.local.store import Store


class S3(Service):
    """Every operation's body is looked at first, where it holds nobody up."""

    def operation(self, deed: Deed) -> Deed:
        self.deeds[self.names[deed.__name__]] = partial(_looked_at, deed)
        return deed


def _looked_at(deed: Deed, call: Call) -> Callable[[], Answer]:
    verify(call)
    return partial(deed, call)


SERVICE = S3("s3")
# An object's data are the pieces of its holder, in order; an upload becomes an object by handing its pieces' holder over.
SCHEMA = """
CREATE TABLE IF NOT EXISTS s3_buckets (
    name TEXT PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, made REAL NOT NULL, settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS s3_objects (
    bucket TEXT NOT NULL, key TEXT NOT NULL, holder TEXT NOT NULL, made REAL NOT NULL, size INTEGER NOT NULL,
    etag TEXT NOT NULL, about TEXT NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS s3_uploads (
    bucket TEXT NOT NULL, key TEXT NOT NULL, holder TEXT NOT NULL, made REAL NOT NULL, about TEXT NOT NULL,
    PRIMARY KEY (bucket, key, holder)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS s3_pieces (
    holder TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL, made REAL NOT NULL, size INTEGER NOT NULL,
    etag TEXT NOT NULL, sums TEXT NOT NULL, PRIMARY KEY (holder, number)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS s3_files ON s3_pieces (file);
"""
OBJECT = "key, holder, made, size, etag, about"
ENFORCED = "BucketOwnerEnforced"
LONGEST_KEY = 1024  # bytes
ACCOUNT_DIGITS = 12


@dataclass(frozen=True)
class Bucket:
    """`settings`: ownership, block (public access), tags; each may be missing, as it may at AWS."""

    name: str
    account: str
    region: str
    made: float
    settings: dict[str, Any]

    @property
    def enforced(self) -> bool:
        """ACLs are off."""
        return self.settings.get("ownership") == ENFORCED

    def blocks(self, what: str) -> bool:
        return bool((self.settings.get("block") or {}).get(what))


@dataclass(frozen=True)
class Object:
    """`about`: headers, metadata, sums, kind (of the sums), acl, tags."""

    key: str
    holder: str
    made: float
    size: int
    etag: str
    about: dict[str, Any]


def denied() -> Refusal:
    return Refusal("AccessDenied", "Access Denied", 403)


def no_bucket(name: str) -> Refusal:
    return Refusal("NoSuchBucket", "The specified bucket does not exist", 404, {"BucketName": name})


def no_key(key: str) -> Refusal:
    return Refusal("NoSuchKey", "The specified key does not exist.", 404, {"Key": key})


def user(account: str) -> str:
    """The canonical id that S3 knows an account by."""
    return hashlib.sha256(f"canonical user {account}".encode()).hexdigest()


def bucket_named(store: Store, name: str) -> Bucket | None:
    row = store.db.execute("SELECT * FROM s3_buckets WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    name, account, region, made, settings = row
    return Bucket(name, account, region, made, json.loads(settings))


def object_at(store: Store, bucket: str, key: str) -> Object | None:
    row = store.db.execute(
        f"SELECT {OBJECT} FROM s3_objects WHERE bucket = ? AND key = ?",  # noqa: S608 - our own words
        (bucket, key),
    ).fetchone()
    return as_object(row) if row else None


def as_object(row: tuple[Any, ...]) -> Object:
    key, holder, made, size, etag, about = row
    return Object(key, holder, made, size, etag, json.loads(about))


def visited(call: Call) -> Bucket:
    """The bucket that is asked for, whosever it is; it must lie where it is asked for."""
    bucket = bucket_named(call.store, call.asked["Bucket"])
    if bucket is None:
        raise no_bucket(call.asked["Bucket"])
    if bucket.region != call.region:
        raise Refusal(
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified endpoint. "
            "Please send all future requests to this endpoint.",
            301,
            {"Bucket": bucket.name, "BucketRegion": bucket.region},
        )
    expected = call.get("ExpectedBucketOwner", bucket.account)
    if not (expected.isdecimal() and len(expected) == ACCOUNT_DIGITS):
        raise Refusal(
            "InvalidBucketOwnerAWSAccountID",
            "The value of the expected bucket owner parameter must be an AWS account ID",
        )
    if expected != bucket.account:
        raise denied()
    return bucket


def owned(call: Call) -> Bucket:
    """The bucket that is asked for; it must be the caller's."""
    bucket = visited(call)
    if bucket.account != call.account:
        raise denied()
    return bucket


def key_of(call: Call) -> str:
    key: str = call.asked["Key"]
    size = len(key.encode(errors="surrogatepass"))
    if size > LONGEST_KEY:
        raise Refusal(
            "KeyTooLongError",
            "Your key is too long",
            fields={"Size": str(size), "MaxSizeAllowed": str(LONGEST_KEY)},
        )
    return key


def held(call: Call, bucket: Bucket) -> Object:
    """The object that is asked for; it must be there."""
    if call.get("VersionId", "null") != "null":  # what an object has that never had a version
        raise Refusal("InvalidArgument", "Invalid version id specified")
    found = object_at(call.store, bucket.name, key_of(call))
    if found is None:
        raise no_key(call.asked["Key"])
    return found


def spoken_of(call: Call) -> None:
    """What was looked at before the change began."""
    for name in ("ContentMD5", "ChecksumAlgorithm"):
        call.get(name)


def change(call: Call, bucket: Bucket, **settings: Any) -> None:
    call.store.db.execute(
        "UPDATE s3_buckets SET settings = ? WHERE name = ?",
        (json.dumps({**bucket.settings, **settings}), bucket.name),
    )
