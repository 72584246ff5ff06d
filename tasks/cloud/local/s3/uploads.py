"""Multipart uploads that are under way: begun, ended, listed."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from tasks.cloud.local.body import SUMS
from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.crc import SUMS as CYCLIC
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3 import integrity, pieces
from tasks.cloud.local.s3.listing import most, spelling
from tasks.cloud.local.s3.service import SERVICE, Bucket, key_of, owned, user
from tasks.cloud.local.s3.writing import ENCRYPTED, wish

WHOLE, OF_PARTS = "FULL_OBJECT", "COMPOSITE"
COLUMNS = "key, holder, made, about"


@dataclass(frozen=True)
class Upload:
    """`about`: what the object is to have; algorithm and kind of its sum; named, when the client named the algorithm."""

    key: str
    holder: str
    made: float
    about: dict[str, Any]


def working(call: Call, bucket: Bucket) -> Upload:
    """The upload that is asked for."""
    holder = call.asked["UploadId"]
    row = call.store.db.execute(
        f"SELECT {COLUMNS} FROM s3_uploads WHERE bucket = ? AND key = ? AND holder = ?",  # noqa: S608 - our own words
        (bucket.name, key_of(call), holder),
    ).fetchone()
    if row is None:
        raise Refusal(
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted "
            "or completed.",
            404,
            {"UploadId": holder},
        )
    return _upload(row)


def _upload(row: tuple[Any, ...]) -> Upload:
    key, holder, made, about = row
    return Upload(key, holder, made, json.loads(about))


@SERVICE.operation
def create_multipart_upload(call: Call) -> Answer:
    bucket, key = owned(call), key_of(call)
    about = wish(call, bucket) | _sum(call)
    holder = f"{int(call.now * 1e6):016x}{secrets.token_hex(24)}"  # sorted by time
    call.store.db.execute(
        "INSERT INTO s3_uploads VALUES (?, ?, ?, ?, ?)",
        (bucket.name, key, holder, float(int(call.now)), json.dumps(about)),
    )
    answer = {"Bucket": bucket.name, "Key": key, "UploadId": holder, **ENCRYPTED}
    return answer | told(about)


def told(about: dict[str, Any]) -> dict[str, str]:
    """What the client named, said back."""
    if not about["named"]:
        return {}
    return {"ChecksumAlgorithm": about["algorithm"], "ChecksumType": about["kind"]}


def _sum(call: Call) -> dict[str, Any]:
    """By docs.aws.amazon.com, "Checking object integrity": CRC64NVME is of the whole, digests are of parts, others as asked."""
    name, kind = call.get("ChecksumAlgorithm"), call.get("ChecksumType")
    if kind and not name:
        raise Refusal(
            "InvalidRequest",
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )
    algorithm = name or integrity.USUAL
    if algorithm not in SUMS:
        raise Refusal("NotImplemented", f"The local cloud does not know the check sum {algorithm}", 501)
    kind = kind or (WHOLE if algorithm == integrity.USUAL else OF_PARTS)
    if (kind == WHOLE and algorithm not in CYCLIC) or (
        kind == OF_PARTS and algorithm == integrity.USUAL
    ):
        raise Refusal(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm.lower()} checksum algorithm.",
        )
    return {"algorithm": algorithm, "kind": kind, "named": bool(name)}


@SERVICE.operation
def abort_multipart_upload(call: Call) -> Answer:
    bucket = owned(call)
    upload = working(call, bucket)
    pieces.drop(call, upload.holder)
    forget(call, bucket, upload)
    return {}


def forget(call: Call, bucket: Bucket, upload: Upload) -> None:
    call.store.db.execute(
        "DELETE FROM s3_uploads WHERE bucket = ? AND key = ? AND holder = ?",
        (bucket.name, upload.key, upload.holder),
    )


@SERVICE.operation
def list_parts(call: Call) -> Answer:
    bucket = owned(call)
    upload = working(call, bucket)
    after, limit = int(call.get("PartNumberMarker") or 0), most(call, "MaxParts")
    found = list(pieces.of(call.store, upload.holder, after, limit + 1))
    shown, owner = found[:limit], {"ID": user(bucket.account)}
    return {
        "Bucket": bucket.name,
        "Key": upload.key,
        "UploadId": upload.holder,
        "PartNumberMarker": after,
        "NextPartNumberMarker": shown[-1].number if shown else 0,
        "MaxParts": limit,
        "IsTruncated": len(found) > limit > 0,
        "Parts": [_part(each, upload) for each in shown],
        "Initiator": owner,
        "Owner": owner,
        "StorageClass": "STANDARD",
        **told(upload.about),
    }


def _part(piece: pieces.Piece, upload: Upload) -> dict[str, Any]:
    sums = {f"Checksum{name}": value for name, value in piece.sums.items()}
    return {
        "PartNumber": piece.number,
        "LastModified": piece.made,
        "ETag": f'"{piece.etag}"',
        "Size": piece.size,
        **(sums if upload.about["named"] else {}),
    }


@SERVICE.operation
def list_multipart_uploads(call: Call) -> Answer:
    """By key, and by their beginning for each."""
    bucket, prefix = owned(call), call.get("Prefix", "")
    key, holder = call.get("KeyMarker", ""), call.get("UploadIdMarker", "")
    limit, said = most(call, "MaxUploads"), spelling(call)
    found = _after(call, bucket, prefix, (key, holder), limit + 1)
    shown = found[:limit]
    answer: dict[str, Any] = {
        "Bucket": bucket.name,
        "KeyMarker": said(key),
        "UploadIdMarker": holder if key else "",
        "Prefix": said(prefix),
        "MaxUploads": limit,
        "IsTruncated": len(found) > limit > 0,
        "Uploads": [_line(each, bucket, said) for each in shown],
    }
    if answer["IsTruncated"]:
        answer |= {"NextKeyMarker": said(shown[-1].key), "NextUploadIdMarker": shown[-1].holder}
    return answer | ({"EncodingType": "url"} if call.get("EncodingType") else {})


def _after(call: Call, bucket: Bucket, prefix: str, marker: tuple[str, str], limit: int) -> list[Upload]:
    key, holder = marker
    more = "OR (key = ? AND holder > ?)" if key and holder else "OR (0 AND ? AND ?)"
    rows = call.store.db.execute(
        f"SELECT {COLUMNS} FROM s3_uploads WHERE bucket = ? AND (key > ? {more})"  # noqa: S608 - our own words
        " AND substr(key, 1, ?) = ? ORDER BY key, holder LIMIT ?",
        (bucket.name, key, key, holder, len(prefix), prefix, limit),
    )
    return [_upload(row) for row in rows]


def _line(upload: Upload, bucket: Bucket, said: Any) -> dict[str, Any]:
    owner = {"ID": user(bucket.account)}
    return {
        "Key": said(upload.key),
        "UploadId": upload.holder,
        "Initiated": upload.made,
        "StorageClass": "STANDARD",
        "Initiator": owner,
        "Owner": owner,
        **told(upload.about),
    }
