"""Lists of the local cloud's objects: in the order of their bytes, in pages, rolled up, with any key that S3 allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tasks.cloud.local.s3.listing import beyond
from tests.localcloud import LocalCloud, localcloud, refused

__all__ = ["localcloud"]
NAME = "doit-ami-test"
KEYS = ["a", "a/", "a/1", "a/2", "a/b/1", "a/b/2", "a0", "b/1", "c d+é&<>%", "z~", "ﬀ", "😀"]


@pytest.fixture
def client(localcloud):
    """Of a cloud that has the bucket, and the keys in it, put in another order."""
    client = localcloud.client("s3")
    client.create_bucket(Bucket=NAME)
    for key in reversed(KEYS):
        client.put_object(Bucket=NAME, Key=key, Body=b"")
    return client


def listed(client, operation="list_objects_v2", size=1000, **asked) -> tuple[list[str], list[str], int]:
    """Keys, common prefixes, and in how many pages they came."""
    keys, prefixes, count = [], [], 0
    pages = client.get_paginator(operation).paginate(
        Bucket=NAME, PaginationConfig={"PageSize": size}, **asked
    )
    for page in pages:
        keys += [each["Key"] for each in page.get("Contents", [])]
        prefixes += [each["Prefix"] for each in page.get("CommonPrefixes") or []]
        count += 1
    return keys, prefixes, count


BOTH = pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])


@BOTH
@pytest.mark.parametrize("size", [1, 2, 5, 12, 1000])
def test_pages(client, operation, size):
    """All of them, once, in order, however many in a page."""
    assert listed(client, operation, size) == (KEYS, [], -(-len(KEYS) // size))


@BOTH
@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize(
    ("asked", "keys", "prefixes"),
    [
        ({"Prefix": "a"}, KEYS[:7], []),
        ({"Prefix": "a/"}, KEYS[1:6], []),
        ({"Prefix": "nothing"}, [], []),
        ({"Delimiter": "/"}, ["a", "a0", *KEYS[8:]], ["a/", "b/"]),
        ({"Delimiter": "/", "Prefix": "a/"}, ["a/", "a/1", "a/2"], ["a/b/"]),
        ({"Delimiter": "/", "Prefix": "a/b"}, [], ["a/b/"]),
        ({"Delimiter": "/b/"}, [key for key in KEYS if "/b/" not in key], ["a/b/"]),
    ],
)
def test_rolled_up(client, operation, size, asked, keys, prefixes):
    """What has a prefix; what has more in common up to the delimiter is told once, in however many pages."""
    assert listed(client, operation, size, **asked)[:2] == (keys, prefixes)


def test_start(client):
    """After a key, which need not be there; a common prefix comes only when it is itself after that."""
    assert listed(client, StartAfter="a/2")[0] == KEYS[4:]
    assert listed(client, StartAfter="a/2x")[0] == KEYS[4:]
    assert listed(client, StartAfter="a/1", Delimiter="/")[1] == ["b/"]
    marked = client.list_objects(Bucket=NAME, Marker="a/2")
    assert [each["Key"] for each in marked["Contents"]] == KEYS[4:]
    assert marked["Marker"] == "a/2"


def test_what_is_told(client):
    """The page tells what was asked; each object its size, time, ETag, class, and its owner when asked."""
    page = client.list_objects_v2(Bucket=NAME, MaxKeys=3, Prefix="a", StartAfter="a", FetchOwner=True)
    assert (page["MaxKeys"], page["KeyCount"], page["IsTruncated"]) == (3, 3, True)
    assert (page["Name"], page["Prefix"], page["StartAfter"]) == (NAME, "a", "a")
    first = page["Contents"][0]
    assert (first["Size"], first["StorageClass"]) == (0, "STANDARD")
    assert first["Owner"]["ID"] == client.list_buckets()["Owner"]["ID"]
    token = page["NextContinuationToken"]
    following = client.list_objects_v2(Bucket=NAME, Prefix="a", StartAfter="a", ContinuationToken=token)
    assert following["ContinuationToken"] == token
    assert [each["Key"] for each in following["Contents"]] == KEYS[4:7]
    assert "Owner" not in following["Contents"][0]
    assert client.list_objects_v2(Bucket=NAME, MaxKeys=5000)["MaxKeys"] == 1000
    none = client.list_objects_v2(Bucket=NAME, MaxKeys=0)
    assert (none["KeyCount"], none["IsTruncated"]) == (0, False)
    assert "NextMarker" not in client.list_objects(Bucket=NAME, MaxKeys=1)
    assert client.list_objects(Bucket=NAME, MaxKeys=2, Delimiter="/")["NextMarker"] == "a/"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"MaxKeys": -1}, "InvalidArgument"),
        ({"ContinuationToken": "?"}, "InvalidArgument"),
        ({"ContinuationToken": ""}, "InvalidArgument"),
        ({"EncodingType": "base64"}, "InvalidArgument"),
        ({"OptionalObjectAttributes": ["RestoreStatus"]}, "NotImplemented"),
        ({"RequestPayer": "requester"}, "NotImplemented"),
    ],
)
def test_refused(client, asked, code):
    assert refused(client.list_objects_v2, Bucket=NAME, **asked) == code


def test_seen_at_once(localcloud: LocalCloud, client):
    """S3's lists lag behind nothing, even where those of EC2 do."""
    localcloud.settings(lag=60)
    client.put_object(Bucket=NAME, Key="0", Body=b"")
    client.delete_object(Bucket=NAME, Key="a")
    assert listed(client)[0] == ["0", *KEYS[1:]]


@given(some.text(min_size=1), some.text())
def test_beyond(prefix, rest):
    """The text after all with a prefix is after each of them, and S3's order is that of the bytes."""
    after = beyond(prefix)
    assert after is None or (prefix + rest).encode() < after.encode()
    assert after is None or not after.startswith(prefix)


def test_beyond_all():
    """After the last there is nothing, and surrogates are no characters."""
    assert beyond("\U0010ffff") is None
    assert beyond("a\U0010ffff") == "b"
    assert beyond("\ud7ff") == "\ue000"
    assert beyond("") is None
