"""Objects of the local cloud are whole, checked, told about and guarded as AWS's are, and are there again after a restart."""

import base64
import hashlib
import threading
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from tasks.cloud.local.s3 import objects, writing
from tests.localcloud import LocalCloud, localcloud, refused

__all__ = ["localcloud"]
OTHER = "210987654321"
NAME = "doit-ami-test"
EC2 = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c"
TEXT = b"0123456789"
EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


CRC32 = b64(zlib.crc32(TEXT).to_bytes(4, "big"))
SHA256 = b64(hashlib.sha256(TEXT).digest())
MD5 = b64(hashlib.md5(TEXT, usedforsecurity=False).digest())


@pytest.fixture
def client(localcloud):
    """Of a cloud that has the bucket."""
    client = localcloud.client("s3")
    client.create_bucket(Bucket=NAME, ObjectOwnership="BucketOwnerPreferred")
    return client


def plain(cloud: LocalCloud):
    """One that adds no check sums of its own."""
    return cloud.client(
        "s3",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def kept(cloud: LocalCloud) -> list[bytes]:
    return [each.read_bytes() for each in (cloud.home / "s3").iterdir()]


def fetched(cloud: LocalCloud, key: str) -> Any:
    """As EC2 finds it."""
    return objects.fetch(cloud.server.store, NAME, key)


def with_headers(client, operation: str, **headers: str):
    """Headers that boto3 would not send."""

    def add(request, **_):
        for name, value in headers.items():
            del request.headers[name.replace("_", "-")]
            request.headers[name.replace("_", "-")] = value

    client.meta.events.register(f"before-sign.s3.{operation}", add)
    return client


def test_round_trip(localcloud, client):
    """Content and all that is told about it come back, after a restart too."""
    told = {
        "ContentType": "text/plain", "CacheControl": "no-store", "ContentDisposition": "inline",
        "ContentEncoding": "gzip", "ContentLanguage": "en",
    }  # fmt: skip
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    key = "a/b c+d~ü%&?.txt"
    put = client.put_object(
        Bucket=NAME,
        Key=key,
        Body=TEXT,
        Metadata={"Some": "thing"},
        Tagging="a=b",
        Expires=expires,
        **told,
    )
    assert put["ETag"] == f'"{hashlib.md5(TEXT, usedforsecurity=False).hexdigest()}"'
    assert (put["ChecksumCRC32"], put["ServerSideEncryption"]) == (CRC32, "AES256")
    localcloud.restart()
    got = localcloud.client("s3").get_object(Bucket=NAME, Key=key)
    assert got["Body"].read() == TEXT
    head = localcloud.client("s3").head_object(Bucket=NAME, Key=key, ChecksumMode="ENABLED")
    for each in (got, head):
        assert {name: each[name] for name in told} == told
        assert each["Metadata"] == {"some": "thing"}
        assert (each["ETag"], each["ContentLength"], each["AcceptRanges"]) == (put["ETag"], 10, "bytes")
        assert abs(each["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
        assert each["ExpiresString"] == "Tue, 01 Jan 2030 00:00:00 GMT"
        assert (each["ChecksumCRC32"], each["ChecksumType"]) == (CRC32, "FULL_OBJECT")
    assert got["TagCount"] == 1


def test_no_more_than_asked(localcloud, client):
    """Sums are told to who asks; the type is one that says nothing when nothing was said."""
    client.put_object(Bucket=NAME, Key="a", Body=b"")
    head = client.head_object(Bucket=NAME, Key="a")
    assert "ChecksumCRC32" not in head
    assert head["ContentType"] == "binary/octet-stream"
    assert head["ContentLength"] == 0
    assert client.get_object(Bucket=NAME, Key="a")["Body"].read() == b""


def test_large(localcloud, client):
    """What is large passes through files alone; what was there before goes."""
    data = bytes(range(256)) * (3 << 12)
    client.put_object(Bucket=NAME, Key="a", Body=TEXT)
    client.put_object(Bucket=NAME, Key="a", Body=data)
    assert kept(localcloud) == [data]
    assert client.get_object(Bucket=NAME, Key="a")["Body"].read() == data
    assert list((localcloud.home / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"ChecksumCRC32": "AAAAAA=="}, "BadDigest"),
        ({"ChecksumSHA256": b64(bytes(32))}, "BadDigest"),
        ({"ChecksumSHA1": b64(bytes(20))}, "BadDigest"),
        ({"ChecksumCRC32C": "AAAAAA=="}, "BadDigest"),
        ({"ChecksumCRC64NVME": b64(bytes(8))}, "BadDigest"),
        ({"ContentMD5": b64(bytes(16))}, "BadDigest"),
        ({"ContentMD5": "AAAA"}, "InvalidDigest"),
        ({"ContentMD5": "?"}, "InvalidDigest"),
        ({"ChecksumSHA256": "AAAA"}, "InvalidRequest"),
        ({"ChecksumCRC32": "no"}, "InvalidRequest"),
        ({"ChecksumCRC32": CRC32, "ChecksumSHA256": SHA256}, "InvalidRequest"),
        ({"ChecksumXXHASH64": b64(bytes(8))}, "NotImplemented"),
    ],
)
def test_bad_sums(localcloud, client, told, code):
    """A sum that is wrong, malformed or one too many ends the request, and nothing is left of it."""
    assert refused(client.put_object, Bucket=NAME, Key="a", Body=TEXT, **told) == code
    assert kept(localcloud) == []
    assert refused(client.head_object, Bucket=NAME, Key="a") == "404"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ChecksumCRC32", CRC32),
        ("ChecksumSHA256", SHA256),
        ("ChecksumSHA1", b64(hashlib.sha1(TEXT, usedforsecurity=False).digest())),
        ("ChecksumCRC32C", "KAwGng=="),
        ("ChecksumCRC64NVME", None),
        ("ChecksumSHA512", b64(hashlib.sha512(TEXT).digest())),
    ],
)
def test_sums(localcloud, client, name, value):
    """A sum that is told is stored and told again; without one, S3 makes its own."""
    told = {name: value} if value else {}
    plain(localcloud).put_object(Bucket=NAME, Key="a", Body=TEXT, ContentMD5=MD5, **told)
    head = client.head_object(Bucket=NAME, Key="a", ChecksumMode="ENABLED")
    assert [key for key in head if key.startswith("Checksum")] == [name, "ChecksumType"]
    assert value is None or head[name] == value
    listed = client.list_objects_v2(Bucket=NAME)["Contents"][0]
    assert listed["ChecksumAlgorithm"] == [name.removeprefix("Checksum")]


def test_promised_sums(localcloud, client):
    """An algorithm that is named has to come, and be the one that is named."""
    named = with_headers(plain(localcloud), "PutObject", x_amz_sdk_checksum_algorithm="SHA256")
    assert refused(named.put_object, Bucket=NAME, Key="a", Body=TEXT) == "InvalidRequest"
    code = refused(named.put_object, Bucket=NAME, Key="a", Body=TEXT, ChecksumCRC32=CRC32)
    assert code == "InvalidRequest"


def chunked(cloud: LocalCloud, trailer: str, sent: bytes, *, decoded: str = "10") -> str:
    """The status and the error code of a body in AWS's wrapping, with a trailer."""
    headers = {
        "X-Amz-Content-SHA256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Content-Encoding": "aws-chunked",
        "X-Amz-Trailer": trailer, **({"X-Amz-Decoded-Content-Length": decoded} if decoded else {}),
    }  # fmt: skip
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("PUT", f"{cloud.url}/{NAME}/a", headers=headers, data=sent)
    request.context["client_config"] = None
    auth: Any = S3SigV4Auth(Credentials("local", "local"), "s3", "us-east-1")
    auth.payload = lambda _: headers["X-Amz-Content-SHA256"]
    auth.add_auth(request)
    request.headers["Content-Length"] = str(len(sent))
    reply = urllib3.request(
        "PUT", f"{cloud.url}/{NAME}/a", headers=dict(request.headers), body=sent, retries=False
    )
    return reply.data.decode() or str(reply.status)


def test_trailer(localcloud, client):
    """A sum behind the body counts as one before it; the wrapping is not stored, nor told."""
    wrapped = b"4\r\n0123\r\n6\r\n456789\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n"
    crc = "x-amz-checksum-crc32"
    assert chunked(localcloud, crc, wrapped % CRC32.encode()) == "200"
    got = client.get_object(Bucket=NAME, Key="a")
    assert got["Body"].read() == TEXT
    assert "ContentEncoding" not in got
    assert got["ChecksumCRC32"] == CRC32
    assert "BadDigest" in chunked(localcloud, crc, wrapped % b"AAAAAA==")
    assert "IncompleteBody" in chunked(localcloud, crc, wrapped % CRC32.encode(), decoded="11")
    assert "MalformedTrailer" in chunked(localcloud, "x-amz-checksum-sha256", wrapped % CRC32.encode())
    assert "MissingContentLength" in chunked(localcloud, crc, wrapped % CRC32.encode(), decoded="")
    assert "MalformedTrailer" in chunked(localcloud, crc, b"a\r\n0123456789\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("asked", "expected", "told"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
        ("bytes=7-", b"789", "bytes 7-9/10"),
        ("bytes=-2", b"89", "bytes 8-9/10"),
        ("bytes=-99", TEXT, "bytes 0-9/10"),
        ("bytes=3-1", TEXT, None),
        ("bytes=0-1,3-4", TEXT, None),
        ("lines=0-1", TEXT, None),
    ],
)
def test_ranges(localcloud, client, asked, expected, told):
    """A part, with 206; what is no range, or several, is the whole."""
    client.put_object(Bucket=NAME, Key="a", Body=TEXT)
    got = client.get_object(Bucket=NAME, Key="a", Range=asked)
    head = client.head_object(Bucket=NAME, Key="a", Range=asked)
    assert got["Body"].read() == expected
    for each in (got, head):
        assert (each.get("ContentRange"), each["ContentLength"]) == (told, len(expected))
        assert each["ResponseMetadata"]["HTTPStatusCode"] == (206 if told else 200)


def test_ranges_outside(localcloud, client):
    """There is nothing beyond the end."""
    client.put_object(Bucket=NAME, Key="a", Body=TEXT)
    client.put_object(Bucket=NAME, Key="empty", Body=b"")
    for key, asked in (("a", "bytes=10-"), ("a", "bytes=-0"), ("empty", "bytes=0-")):
        with pytest.raises(ClientError) as caught:
            client.get_object(Bucket=NAME, Key=key, Range=asked)
        assert caught.value.response["Error"]["Code"] == "InvalidRange"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416
    assert refused(client.head_object, Bucket=NAME, Key="a", Range="bytes=10-") == "416"
    assert (
        refused(client.get_object, Bucket=NAME, Key="a", Range="bytes=0-", PartNumber=1)
        == "InvalidRequest"
    )
    assert client.get_object(Bucket=NAME, Key="a", PartNumber=1)["Body"].read() == TEXT
    assert refused(client.get_object, Bucket=NAME, Key="a", PartNumber=2) == "InvalidPartNumber"


def test_conditions_of_reading(localcloud, client):
    """By ETag and by time: 412 when it is another one, 304 without a body when it is known."""
    etag = client.put_object(Bucket=NAME, Key="a", Body=TEXT)["ETag"]
    now = datetime.now(UTC)
    then, later = now - timedelta(hours=1), now + timedelta(hours=1)
    for wish in (
        {"IfMatch": etag}, {"IfMatch": "*"}, {"IfNoneMatch": '"x"'}, {"IfModifiedSince": then},
        {"IfUnmodifiedSince": later}, {"IfMatch": etag, "IfUnmodifiedSince": then},
        {"IfNoneMatch": '"x"', "IfModifiedSince": later},
    ):  # fmt: skip
        client.get_object(Bucket=NAME, Key="a", **wish)["Body"].read()
    for wish in ({"IfMatch": '"x"'}, {"IfUnmodifiedSince": then}):
        assert refused(client.get_object, Bucket=NAME, Key="a", **wish) == "PreconditionFailed"
        assert refused(client.head_object, Bucket=NAME, Key="a", **wish) == "412"
    for wish in ({"IfNoneMatch": etag}, {"IfNoneMatch": f'"x", {etag}'}, {"IfModifiedSince": later}):
        assert refused(client.get_object, Bucket=NAME, Key="a", **wish) == "304"
        assert refused(client.head_object, Bucket=NAME, Key="a", **wish) == "304"
    assert client.get_object(Bucket=NAME, Key="a")["Body"].read() == TEXT  # on the same connection


def test_conditions_of_writing(localcloud, client):
    """Only when nothing is there, or only in the place of what one knows."""
    put = {"Bucket": NAME, "Key": "a", "Body": TEXT}
    assert refused(client.put_object, **put, IfMatch='"x"') == "NoSuchKey"
    etag = client.put_object(**put, IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as caught:
        client.put_object(**put, IfNoneMatch="*")
    assert caught.value.response["Error"]["Code"] == "PreconditionFailed"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert refused(client.put_object, **put, IfMatch='"x"') == "PreconditionFailed"
    assert refused(client.put_object, **put, IfNoneMatch=etag) == "NotImplemented"
    client.put_object(**put, IfMatch=etag)
    assert len(kept(localcloud)) == 1


def test_one_of_many_writers(localcloud, client):
    """Of those who want to be first, one is."""
    won = []

    def write(number: int) -> None:
        try:
            localcloud.client("s3").put_object(
                Bucket=NAME, Key="a", Body=b"%d" % number, IfNoneMatch="*"
            )
            won.append(number)
        except ClientError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [b"%d" % each for each in won] == kept(localcloud)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"ACL": "bogus"}, "InvalidArgument"),
        ({"ACL": "public-read"}, "AccessDenied"),
        ({"ACL": "authenticated-read"}, "AccessDenied"),
        ({"GrantRead": "id=a"}, "NotImplemented"),
        ({"StorageClass": "GLACIER"}, "NotImplemented"),
        ({"StorageClass": "bogus"}, "InvalidStorageClass"),
        ({"ServerSideEncryption": "bogus"}, "InvalidEncryptionAlgorithmError"),
        ({"ServerSideEncryption": "aws:kms"}, "NotImplemented"),
        ({"SSEKMSKeyId": "a"}, "NotImplemented"),
        ({"Metadata": {"a": "b" * 2048}}, "MetadataTooLarge"),
        ({"Tagging": "a=1&a=2"}, "InvalidArgument"),
        ({"Tagging": "aws:a=1"}, "InvalidTag"),
        ({"Tagging": "&".join(f"{n}=" for n in range(11))}, "BadRequest"),
        ({"WebsiteRedirectLocation": "/"}, "NotImplemented"),
        ({"ObjectLockMode": "COMPLIANCE"}, "NotImplemented"),
    ],
)
def test_put_as_it_cannot_be(localcloud, client, told, code):
    """What AWS refuses is refused, and what the local cloud does not know as well; nothing is left of it."""
    assert refused(client.put_object, Bucket=NAME, Key="a", Body=TEXT, **told) == code
    assert refused(client.head_object, Bucket=NAME, Key="a") == "404"
    assert kept(localcloud) == []


def test_limits(localcloud, client, monkeypatch):
    """1024 bytes of key, not characters; five GiB in one request."""
    client.put_object(Bucket=NAME, Key="ü" * 512, Body=b"")
    assert refused(client.put_object, Bucket=NAME, Key="ü" * 513, Body=b"") == "KeyTooLongError"
    monkeypatch.setattr(writing, "LARGEST", 9)
    assert refused(client.put_object, Bucket=NAME, Key="a", Body=TEXT) == "EntityTooLarge"


def test_not_there(localcloud, client):
    """404; a HEAD says it without a body."""
    assert refused(client.get_object, Bucket=NAME, Key="a") == "NoSuchKey"
    assert refused(client.head_object, Bucket=NAME, Key="a") == "404"
    assert refused(client.get_object_acl, Bucket=NAME, Key="a") == "NoSuchKey"
    assert refused(client.get_object_tagging, Bucket=NAME, Key="a") == "NoSuchKey"
    assert client.delete_object(Bucket=NAME, Key="a")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_acls_off(localcloud):
    """In a bucket that has none, only the owner's own ACL is one."""
    client = localcloud.client("s3")
    client.create_bucket(Bucket=NAME)
    put = {"Bucket": NAME, "Key": "a", "Body": TEXT}
    for acl in ("private", "aws-exec-read", "public-read"):
        assert refused(client.put_object, **put, ACL=acl) == "AccessControlListNotSupported"
    client.put_object(**put, ACL="bucket-owner-full-control")
    code = refused(client.put_object_acl, Bucket=NAME, Key="a", ACL="aws-exec-read")
    assert code == "AccessControlListNotSupported"


def test_exec_read(localcloud, client):
    """The ACL that EC2 reads bundles by is a grant to its own user, until the bucket has no ACLs any more."""
    client.put_object(Bucket=NAME, Key="a", Body=TEXT, ACL="aws-exec-read")
    client.put_object(Bucket=NAME, Key="b", Body=TEXT)
    grants = client.get_object_acl(Bucket=NAME, Key="a")["Grants"]
    assert [each["Permission"] for each in grants] == ["FULL_CONTROL", "READ"]
    assert grants[1]["Grantee"] == {"ID": EC2, "Type": "CanonicalUser"}
    found = fetched(localcloud, "a")
    assert (found.account, found.region, found.readable) == ("123456789012", "us-east-1", True)
    assert (found.size, found.read(), len(found.files)) == (10, TEXT, 1)
    assert not fetched(localcloud, "b").readable
    client.put_object_acl(Bucket=NAME, Key="b", ACL="aws-exec-read")
    assert fetched(localcloud, "b").readable
    rules = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    client.put_bucket_ownership_controls(Bucket=NAME, OwnershipControls=rules)
    assert not fetched(localcloud, "a").readable
    assert len(client.get_object_acl(Bucket=NAME, Key="a")["Grants"]) == 1
    assert fetched(localcloud, "c") is None
    assert objects.fetch(localcloud.server.store, "nobody-has-it", "a") is None


def test_what_is_read_stays(localcloud, client):
    """An object that goes while somebody reads it is read to its end; then its data go too."""
    client.put_object(Bucket=NAME, Key="a", Body=TEXT)
    found = fetched(localcloud, "a")
    client.delete_object(Bucket=NAME, Key="a")
    assert found.read() == TEXT
    assert kept(localcloud) == [TEXT]
    del found
    assert kept(localcloud) == []


def test_open_to_others(localcloud, client):
    """Where the block on public access is lifted, others may read what is public, and no more."""
    client.delete_public_access_block(Bucket=NAME)
    client.put_object(Bucket=NAME, Key="a", Body=TEXT, ACL="public-read")
    client.put_object(Bucket=NAME, Key="b", Body=TEXT)
    grants = client.get_object_acl(Bucket=NAME, Key="a")["Grants"]
    assert grants[1]["Grantee"] == {"URI": EVERYBODY, "Type": "Group"}
    other = localcloud.client("s3", account=OTHER)
    assert other.get_object(Bucket=NAME, Key="a")["Body"].read() == TEXT
    for key in ("b", "c"):
        assert refused(other.get_object, Bucket=NAME, Key=key) == "AccessDenied"
    assert refused(other.put_object, Bucket=NAME, Key="a") == "AccessDenied"
    client.put_public_access_block(
        Bucket=NAME, PublicAccessBlockConfiguration={"IgnorePublicAcls": True}
    )
    assert refused(other.get_object, Bucket=NAME, Key="a") == "AccessDenied"


def test_tags(localcloud, client):
    """Put, told, replaced, removed; at most ten."""
    client.put_object(Bucket=NAME, Key="a", Body=TEXT, Tagging="a=1&b=")
    tags = client.get_object_tagging(Bucket=NAME, Key="a")["TagSet"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
    client.put_object_tagging(Bucket=NAME, Key="a", Tagging={"TagSet": [{"Key": "c", "Value": "d"}]})
    assert client.get_object_tagging(Bucket=NAME, Key="a")["TagSet"] == [{"Key": "c", "Value": "d"}]
    many = {"TagSet": [{"Key": str(n), "Value": ""} for n in range(11)]}
    assert refused(client.put_object_tagging, Bucket=NAME, Key="a", Tagging=many) == "BadRequest"
    client.delete_object_tagging(Bucket=NAME, Key="a")
    assert client.get_object_tagging(Bucket=NAME, Key="a")["TagSet"] == []


def test_delete_many(localcloud, client):
    """Up to a thousand, there or not; their data go."""
    for key in ("a", "b", "c & <d>"):
        client.put_object(Bucket=NAME, Key=key, Body=TEXT)
    told = {"Objects": [{"Key": key} for key in ("a", "c & <d>", "none")]}
    deleted = client.delete_objects(Bucket=NAME, Delete=told)["Deleted"]
    assert [each["Key"] for each in deleted] == ["a", "c & <d>", "none"]
    assert len(kept(localcloud)) == 1
    quiet = {"Objects": [{"Key": "b"}], "Quiet": True}
    assert "Deleted" not in client.delete_objects(Bucket=NAME, Delete=quiet)
    assert kept(localcloud) == []
    thousand = {"Objects": [{"Key": f"{n}"} for n in range(1000)]}
    assert len(client.delete_objects(Bucket=NAME, Delete=thousand)["Deleted"]) == 1000
    for keys in (range(1001), ()):
        many = {"Objects": [{"Key": f"{n}"} for n in keys]}
        assert refused(client.delete_objects, Bucket=NAME, Delete=many) == "MalformedXML"
    versions = {"Objects": [{"Key": "a", "VersionId": "1"}]}
    assert refused(client.delete_objects, Bucket=NAME, Delete=versions) == "NotImplemented"


def test_delete_many_without_a_sum(localcloud, client):
    """A list of what to delete must be sure to be whole."""

    def strip(request, **_):
        for name in ("Content-MD5", "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm"):
            del request.headers[name]

    client.put_object(Bucket=NAME, Key="a", Body=TEXT)
    client.meta.events.register("before-sign.s3.DeleteObjects", strip)
    asked = {"Objects": [{"Key": "a"}]}
    assert refused(client.delete_objects, Bucket=NAME, Delete=asked) == "InvalidRequest"
    wrong = with_headers(localcloud.client("s3"), "DeleteObjects", x_amz_checksum_crc32="AAAAAA==")
    assert refused(wrong.delete_objects, Bucket=NAME, Delete=asked) == "BadDigest"
    assert kept(localcloud) == [TEXT]


def test_other_operations(localcloud, client):
    """What it does not know it says."""
    client.put_object(Bucket=NAME, Key="a", Body=TEXT)
    source = {"Bucket": NAME, "Key": "a"}
    assert refused(client.copy_object, Bucket=NAME, Key="b", CopySource=source) == "NotImplemented"
    assert refused(client.get_object_torrent, Bucket=NAME, Key="a") == "NotImplemented"
    assert refused(client.get_object, Bucket=NAME, Key="a", VersionId="1") == "InvalidArgument"
    assert refused(client.get_object, Bucket=NAME, Key="a", RequestPayer="requester") == "NotImplemented"
    assert client.get_object(Bucket=NAME, Key="a", VersionId="null")["Body"].read() == TEXT


def test_presigned(localcloud, client):
    """An address that is signed needs nothing else, and may ask to be told something else."""
    client.put_object(Bucket=NAME, Key="a b", Body=TEXT)
    signed = localcloud.client("s3", signature_version="s3v4")
    asked = {"Bucket": NAME, "Key": "a b", "ResponseContentType": "text/x"}
    reply = urllib3.request("GET", signed.generate_presigned_url("get_object", Params=asked))
    assert (reply.status, reply.data, reply.headers["Content-Type"]) == (200, TEXT, "text/x")


def test_swept(localcloud, client):
    """What no row knows is removed at the start, and nothing else."""
    client.put_object(Bucket=NAME, Key="a", Body=TEXT)
    (localcloud.home / "s3" / "left").write_bytes(b"of a killed one")
    (localcloud.home / "s3" / ".left.scratch").write_bytes(b"")
    localcloud.restart()
    assert kept(localcloud) == [TEXT]
