"""Objects in parts: numbers, order, sizes, sums and ends as AWS has them; nothing of an upload is lost, or left."""

import base64
import hashlib
import io
import random
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tasks.cloud.local.crc import Crc
from tasks.cloud.local.s3 import objects, writing
from tests.localcloud import LocalCloud, localcloud, refused

__all__ = ["localcloud"]
NAME = "doit-ami-test"
MIB = 1 << 20
PARTS = [random.Random(seed).randbytes(size) for seed, size in ((1, 5 * MIB), (2, 5 * MIB + 1), (3, 10))]
WHOLE = b"".join(PARTS)
AT = {"Bucket": NAME, "Key": "a/b"}


@pytest.fixture
def client(localcloud):
    """Of a cloud that has the bucket."""
    client = localcloud.client("s3")
    client.create_bucket(Bucket=NAME, ObjectOwnership="BucketOwnerPreferred")
    return client


def plain(cloud: LocalCloud):
    """One that adds no check sums of its own."""
    return cloud.client("s3", request_checksum_calculation="when_required")


def begun(client, **told) -> dict[str, str]:
    """What all calls of an upload have in common."""
    return {**AT, "UploadId": client.create_multipart_upload(**AT, **told)["UploadId"]}


def sent(client, upload, number: int, data: bytes, **told) -> dict[str, object]:
    """What to say of the part at the end."""
    reply = client.upload_part(**upload, PartNumber=number, Body=data, **told)
    sums = {key: reply[key] for key in reply if key.startswith("Checksum")}
    return {"PartNumber": number, "ETag": reply["ETag"], **sums}


def all_sent(client, upload, numbers=(1, 2, 3), **told):
    return [
        sent(client, upload, number, data, **told) for number, data in zip(numbers, PARTS, strict=True)
    ]


def of(*parts) -> dict[str, object]:
    return {"MultipartUpload": {"Parts": list(parts)}}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def kept(cloud: LocalCloud) -> int:
    return len(list((cloud.home / "s3").iterdir()))


def test_whole(localcloud, client):
    """The object is its parts in order, with the ETag and the sum of sums that AWS gives it; it outlives a restart."""
    upload = begun(
        client, ChecksumAlgorithm="SHA256", ACL="aws-exec-read", Metadata={"a": "b"}, ContentType="x/y"
    )
    localcloud.restart()
    client = localcloud.client("s3")
    parts = all_sent(client, upload, (2, 5, 10_000), ChecksumAlgorithm="SHA256")
    done = client.complete_multipart_upload(**upload, **of(*parts))
    digest = hashlib.md5(
        b"".join(hashlib.md5(each, usedforsecurity=False).digest() for each in PARTS),
        usedforsecurity=False,
    )
    sums = hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in PARTS)).digest()
    assert done["ETag"] == f'"{digest.hexdigest()}-3"'
    assert (done["ChecksumSHA256"], done["ChecksumType"]) == (f"{b64(sums)}-3", "COMPOSITE")
    assert done["Location"] == f"{localcloud.url}/{NAME}/a%2Fb"
    localcloud.restart()
    client = localcloud.client("s3")
    got = client.get_object(**AT)
    assert got["Body"].read() == WHOLE
    assert (got["Metadata"], got["ContentType"], got["ETag"]) == ({"a": "b"}, "x/y", done["ETag"])
    head = client.head_object(**AT, ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == done["ChecksumSHA256"]
    found = objects.fetch(localcloud.server.store, NAME, "a/b")
    assert found
    assert found.readable
    assert (found.read(), len(found.files)) == (WHOLE, 3)
    assert kept(localcloud) == 3
    client.delete_object(**AT)
    del found
    assert kept(localcloud) == 0


def test_ranges_over_parts(client):
    """A range begins and ends wherever it likes; a part can be asked for by its number."""
    upload = begun(client, ChecksumAlgorithm="CRC32")
    client.complete_multipart_upload(**upload, **of(*all_sent(client, upload)))
    first, second = len(PARTS[0]), len(PARTS[0]) + len(PARTS[1])
    for start, end in (
        (0, 0),
        (first - 1, first),
        (first - 5, second + 5),
        (first, second - 1),
        (second, second),
    ):
        got = client.get_object(**AT, Range=f"bytes={start}-{end}")["Body"].read()
        assert got == WHOLE[start : end + 1]
    part = client.get_object(**AT, PartNumber=2)
    assert (part["PartsCount"], part["Body"].read()) == (3, PARTS[1])
    assert part["ContentRange"] == f"bytes {first}-{second - 1}/{len(WHOLE)}"


def test_as_boto3_does_it(localcloud, client):
    """boto3's own transfers, several parts at once, in both directions."""
    config = TransferConfig(multipart_threshold=MIB, multipart_chunksize=5 * MIB)
    client.upload_fileobj(io.BytesIO(WHOLE), NAME, "c", Config=config)
    back = io.BytesIO()
    client.download_fileobj(NAME, "c", back, Config=config)
    assert back.getvalue() == WHOLE
    assert client.head_object(Bucket=NAME, Key="c", ChecksumMode="ENABLED")["ChecksumCRC32"].endswith(
        "-3"
    )


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME", ""])
def test_sum_of_the_whole(localcloud, client, name):
    """Cyclic sums of parts add up to that of the object; without one being named, S3 takes its own."""
    told = {"ChecksumAlgorithm": name, "ChecksumType": "FULL_OBJECT"} if name else {}
    bare, kind = plain(localcloud), name or "CRC64NVME"
    upload = begun(bare, **told)
    parts = [sent(bare, upload, 1, PARTS[0]), sent(bare, upload, 2, PARTS[2])]
    if name:
        wrong = {f"Checksum{name}": b64(bytes(len(Crc(kind).digest())))}
        assert refused(bare.complete_multipart_upload, **upload, **of(*parts), **wrong) == "BadDigest"
    done = bare.complete_multipart_upload(**upload, **of(*parts))
    whole = Crc(kind)
    whole.update(PARTS[0] + PARTS[2])
    assert (done[f"Checksum{kind}"], done["ChecksumType"]) == (b64(whole.digest()), "FULL_OBJECT")
    assert client.head_object(**AT, ChecksumMode="ENABLED")["ChecksumType"] == "FULL_OBJECT"


def test_replaced(localcloud, client):
    """A part that is sent again counts as it was sent last; parts that are not named are dropped."""
    upload = begun(client)
    sent(client, upload, 1, b"first")
    second = sent(client, upload, 1, b"second")
    sent(client, upload, 2, b"never named")
    assert kept(localcloud) == 2
    assert (
        refused(client.complete_multipart_upload, **upload, **of({**second, "ETag": "x"}))
        == "InvalidPart"
    )
    client.complete_multipart_upload(**upload, **of(second))
    assert client.get_object(**AT)["Body"].read() == b"second"
    assert kept(localcloud) == 1
    upload = begun(client)
    client.complete_multipart_upload(**upload, **of(sent(client, upload, 7, b"other")))
    assert client.get_object(**AT)["Body"].read() == b"other"
    assert kept(localcloud) == 1


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_numbers(client, number):
    """One to ten thousand."""
    upload = begun(client)
    assert refused(client.upload_part, **upload, PartNumber=number, Body=b"") == "InvalidArgument"


def test_bad_ends(localcloud, client):
    """Order, presence and size of parts; and what was refused can be put right."""
    upload = begun(client)
    small, large = sent(client, upload, 1, b"small"), sent(client, upload, 2, PARTS[0])
    complete = client.complete_multipart_upload
    assert refused(complete, **upload, **of(large, small)) == "InvalidPartOrder"
    assert refused(complete, **upload, **of(small, small)) == "InvalidPartOrder"
    assert refused(complete, **upload, **of(small, large)) == "EntityTooSmall"
    assert refused(complete, **upload, **of(small, {**large, "PartNumber": 3})) == "InvalidPart"
    assert refused(complete, **upload, **of({**large, "ETag": small["ETag"]})) == "InvalidPart"
    assert refused(complete, **upload, **of({**large, "ChecksumCRC32": "AAAAAA=="})) == "InvalidPart"
    assert refused(complete, **upload) == "InvalidRequest"
    assert refused(complete, **upload, **of(large), MpuObjectSize=1) == "InvalidRequest"
    assert refused(complete, **upload, **of(large), ChecksumType="COMPOSITE") == "InvalidRequest"
    assert refused(client.head_object, **AT) == "404"
    assert kept(localcloud) == 2
    complete(**upload, **of(large), MpuObjectSize=5 * MIB)


def test_ended_is_ended(localcloud, client):
    """After its end there is no such upload, nor is there one for another key."""
    upload = begun(client)
    part = sent(client, upload, 1, b"a")
    assert refused(client.list_parts, **{**upload, "Key": "other"}) == "NoSuchUpload"
    assert client.abort_multipart_upload(**upload)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert kept(localcloud) == 0
    for call, told in (
        (client.upload_part, {"PartNumber": 1, "Body": b"a"}), (client.abort_multipart_upload, {}),
        (client.list_parts, {}), (client.complete_multipart_upload, of(part)),
    ):  # fmt: skip
        with pytest.raises(ClientError) as caught:
            call(**upload, **told)
        assert caught.value.response["Error"]["Code"] == "NoSuchUpload"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert kept(localcloud) == 0


def test_conditions(client):
    """Of two uploads of a new object, the one that is completed first."""
    one, other = begun(client), begun(client)
    first, second = sent(client, one, 1, b"one"), sent(client, other, 1, b"other")
    client.complete_multipart_upload(**one, **of(first), IfNoneMatch="*")
    code = refused(client.complete_multipart_upload, **other, **of(second), IfNoneMatch="*")
    assert code == "PreconditionFailed"
    assert client.get_object(**AT)["Body"].read() == b"one"
    etag = client.head_object(**AT)["ETag"]
    client.complete_multipart_upload(**other, **of(second), IfMatch=etag)


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"ChecksumAlgorithm": "bogus"}, "InvalidRequest"),
        ({"ChecksumAlgorithm": "SHA256", "ChecksumType": "FULL_OBJECT"}, "InvalidRequest"),
        ({"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "COMPOSITE"}, "InvalidRequest"),
        ({"ChecksumType": "FULL_OBJECT"}, "InvalidRequest"),
        ({"ChecksumAlgorithm": "XXHASH64"}, "NotImplemented"),
        ({"ACL": "public-read"}, "AccessDenied"),
        ({"ACL": "bogus"}, "InvalidArgument"),
        ({"StorageClass": "GLACIER"}, "NotImplemented"),
        ({"SSEKMSKeyId": "a"}, "NotImplemented"),
    ],
)
def test_begun_as_it_cannot_be(client, told, code):
    """What AWS refuses is refused, and what the local cloud does not know as well; nothing is begun."""
    assert refused(client.create_multipart_upload, **AT, **told) == code
    assert "Uploads" not in client.list_multipart_uploads(Bucket=NAME)


def test_sums_of_parts(localcloud, client):
    """An algorithm that was named is that of every part; each sum is checked, then and at the end."""
    bare = plain(localcloud)
    upload = begun(client, ChecksumAlgorithm="SHA256")
    put = {**upload, "PartNumber": 1, "Body": b"a"}
    assert refused(client.upload_part, **put, ChecksumAlgorithm="CRC32") == "InvalidRequest"
    assert refused(bare.upload_part, **put) == "InvalidRequest"
    assert refused(bare.upload_part, **put, ChecksumSHA256=b64(bytes(32))) == "BadDigest"
    assert refused(bare.upload_part, **put, ContentMD5=b64(bytes(16))) == "BadDigest"
    assert kept(localcloud) == 0
    part = sent(bare, upload, 1, b"a", ChecksumSHA256=b64(hashlib.sha256(b"a").digest()))
    bald = {key: part[key] for key in ("PartNumber", "ETag")}
    assert refused(client.complete_multipart_upload, **upload, **of(bald)) == "InvalidRequest"
    wrong = {**part, "ChecksumSHA256": b64(bytes(32))}
    assert refused(client.complete_multipart_upload, **upload, **of(wrong)) == "InvalidPart"
    client.complete_multipart_upload(**upload, **of(part))


def test_too_large(client, monkeypatch):
    """Five GiB in one part."""
    upload = begun(client)
    monkeypatch.setattr(writing, "LARGEST", 9)
    assert refused(client.upload_part, **upload, PartNumber=1, Body=bytes(10)) == "EntityTooLarge"


def test_list_parts(client):
    """In pages, by number, with their sums when the algorithm was named."""
    upload = begun(client, ChecksumAlgorithm="CRC32")
    for number in (3, 1, 2):
        sent(client, upload, number, b"%d" % number)
    pages = list(client.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2}))
    assert [[each["PartNumber"] for each in page["Parts"]] for page in pages] == [[1, 2], [3]]
    assert pages[0]["NextPartNumberMarker"] == 2
    assert (pages[0]["ChecksumAlgorithm"], pages[0]["ChecksumType"]) == ("CRC32", "COMPOSITE")
    first = pages[0]["Parts"][0]
    assert (first["Size"], first["ChecksumCRC32"]) == (1, b64(crc(b"1")))
    assert abs(first["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert refused(client.list_parts, **upload, MaxParts=-1) == "InvalidArgument"


def test_list_uploads(localcloud, client):
    """In pages, by key and then by beginning, under a prefix; each with the time when it began."""
    began = [
        (key, client.create_multipart_upload(Bucket=NAME, Key=key)["UploadId"])
        for key in ("b", "a/1", "a/2", "a/1", "é <&")
    ]
    expected = [began[1], began[3], began[2], began[0], began[4]]
    localcloud.restart()
    client = localcloud.client("s3")
    for size in (1, 2, 1000):
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket=NAME, PaginationConfig={"PageSize": size}
        )
        found = [each for page in pages for each in page.get("Uploads", [])]
        assert [(each["Key"], each["UploadId"]) for each in found] == expected
        for each in found:
            assert abs(each["Initiated"] - datetime.now(UTC)) < timedelta(minutes=1)
    under = client.list_multipart_uploads(Bucket=NAME, Prefix="a/")
    assert [each["Key"] for each in under["Uploads"]] == ["a/1", "a/1", "a/2"]
    after = client.list_multipart_uploads(Bucket=NAME, KeyMarker="a/1")
    assert [each["Key"] for each in after["Uploads"]] == ["a/2", "b", "é <&"]
    assert refused(client.list_multipart_uploads, Bucket=NAME, Delimiter="/") == "NotImplemented"


def test_parts_are_no_objects(client):
    """Nothing is seen of an object before its end."""
    upload = begun(client)
    sent(client, upload, 1, b"a")
    assert client.list_objects_v2(Bucket=NAME)["KeyCount"] == 0
    assert refused(client.get_object, **AT) == "NoSuchKey"
    assert refused(client.upload_part_copy, **upload, PartNumber=1, CopySource=AT) == "NotImplemented"
