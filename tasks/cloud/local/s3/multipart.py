"""Parts of an upload, and the object that they become."""

import base64
import hashlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from tasks.cloud.local.body import SUMS
from tasks.cloud.local.call import Answer, Asked, Call
from tasks.cloud.local.crc import joined
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3 import integrity, pieces
from tasks.cloud.local.s3.pieces import Piece
from tasks.cloud.local.s3.service import SERVICE, Object, object_at, owned
from tasks.cloud.local.s3.uploads import OF_PARTS, WHOLE, Upload, forget, working
from tasks.cloud.local.s3.writing import ENCRYPTED, allowed, carried, parameter, put, sums

FIRST, LAST = 1, 10_000
SMALLEST = 5 << 20  # bytes of a part that is not the last


@SERVICE.slow
def upload_part(call: Call) -> Callable[[], Answer]:
    """Sums are made first, where they hold nobody up."""
    integrity.verify(call)
    with call.store.lock:
        upload = working(call, owned(call))
    number = call.asked["PartNumber"]
    if not FIRST <= number <= LAST:
        raise Refusal(
            "InvalidArgument",
            f"Part number must be an integer between {FIRST} and {LAST}, inclusive",
            fields={"ArgumentName": "partNumber", "ArgumentValue": str(number)},
        )
    call.body.sums(*_algorithms(call, upload))
    return partial(_add, call, number)


def _algorithms(call: Call, upload: Upload) -> set[str]:
    """The object's own, and what the client told; these are one where the client named it, as it must where it is of parts."""
    told, named = integrity.claimed(call), upload.about["named"]
    actual, expected = told[0] if told else None, upload.about["algorithm"]
    if named and actual != expected and (told or upload.about["kind"] == OF_PARTS):
        raise Refusal(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, "
            f"actual checksum Type: {actual.lower() if actual else 'null'}",
        )
    return {expected, *([actual] if actual else [])}


def _add(call: Call, number: int) -> Answer:
    upload = working(call, owned(call))  # it may be gone by now
    carried(call)
    made = call.body.sums(*_algorithms(call, upload))
    piece = pieces.add(call, upload.holder, number, made)
    told = integrity.claimed(call)
    shown = {parameter(told[0]): told[1]} if told else {}
    return {"ETag": f'"{piece.etag}"', **ENCRYPTED, **shown}


@SERVICE.operation
def complete_multipart_upload(call: Call) -> Answer:
    """No byte is moved: the object's pieces are the upload's."""
    bucket = owned(call)
    upload = working(call, bucket)
    allowed(call, object_at(call.store, bucket.name, upload.key))
    chosen = _chosen(call, upload)
    size = sum(each.size for each in chosen)
    if call.get("MpuObjectSize", size) != size:
        raise Refusal(
            "InvalidRequest",
            "The provided 'x-amz-mp-object-size' header does not match what was computed.",
        )
    about = {key: value for key, value in upload.about.items() if key not in ("algorithm", "named")}
    about["sums"] = {upload.about["algorithm"]: _sum(upload, chosen)}
    _told(call, upload, about)
    digest = b"".join(bytes.fromhex(each.etag) for each in chosen)
    etag = f"{hashlib.md5(digest, usedforsecurity=False).hexdigest()}-{len(chosen)}"
    _leave_out(call, upload, chosen)
    forget(call, bucket, upload)
    put(call, bucket, Object(upload.key, upload.holder, float(int(call.now)), size, etag, about))
    return {
        "Location": f"http://{call.headers['host']}/{bucket.name}/{quote(upload.key, safe='')}",
        "Bucket": bucket.name,
        "Key": upload.key,
        "ETag": f'"{etag}"',
        **ENCRYPTED,
        **sums(about),
    }


def _chosen(call: Call, upload: Upload) -> list[Piece]:
    parts: tuple[Asked, ...] = (call.get("MultipartUpload") or {}).get("Parts", ())
    if not parts:
        raise Refusal("InvalidRequest", "You must specify at least one part")
    numbers = [each["PartNumber"] for each in parts]
    if any(one >= other for one, other in pairwise(numbers)):
        raise Refusal(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
        )
    there = {each.number: each for each in pieces.of(call.store, upload.holder)}
    chosen = [_fitting(each, there.get(each["PartNumber"]), upload) for each in parts]
    for each in chosen[:-1]:
        if each.size < SMALLEST:
            raise Refusal(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                fields={
                    "ETag": each.etag,
                    "MinSizeAllowed": str(SMALLEST),
                    "ProposedSize": str(each.size),
                    "PartNumber": str(each.number),
                },
            )
    return chosen


def _fitting(part: Asked, piece: Piece | None, upload: Upload) -> Piece:
    """The piece, if it is what the client takes it for."""
    etag, name = part.get("ETag", "").strip('"'), upload.about["algorithm"]
    told = {each: part[parameter(each)] for each in SUMS if parameter(each) in part}
    if upload.about["named"] and upload.about["kind"] == OF_PARTS and not told:
        raise Refusal(
            "InvalidRequest",
            f"The upload was created using a {name.lower()} checksum. The complete request must include the "
            f"checksum for each part. It was missing for part {part['PartNumber']} in the request.",
        )
    if piece is None or piece.etag != etag or not told.items() <= piece.sums.items():
        raise Refusal(
            "InvalidPart",
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
            "specified entity tag may not match the part's entity tag.",
            fields={"UploadId": upload.holder, "PartNumber": str(part["PartNumber"]), "ETag": etag},
        )
    return piece


def _sum(upload: Upload, chosen: list[Piece]) -> str:
    """Of the object: of its parts' sums one after the other, or as if it had come in one piece."""
    name = upload.about["algorithm"]
    values = [base64.b64decode(each.sums[name]) for each in chosen]
    if upload.about["kind"] == OF_PARTS:
        total = SUMS[name]()
        total.update(b"".join(values))
        return f"{base64.b64encode(total.digest()).decode()}-{len(chosen)}"
    whole = values[0]
    for piece, value in zip(chosen[1:], values[1:], strict=True):
        whole = joined(name, whole, value, piece.size)
    return base64.b64encode(whole).decode()


def _told(call: Call, upload: Upload, about: dict[str, Any]) -> None:
    """Raises Refusal unless the client's sum of the object, if it has one, is ours."""
    name, kind = upload.about["algorithm"], upload.about["kind"]
    if call.get("ChecksumType", kind) != kind:
        raise Refusal("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    told: str | None = call.get(parameter(name))
    if told is None:
        return
    ours = about["sums"][name]
    plain = told.partition("-")[0]
    integrity.checked(name, plain)
    if told != ours and (kind == WHOLE or plain != ours.partition("-")[0]):
        raise integrity.mismatch(name)


def _leave_out(call: Call, upload: Upload, chosen: list[Piece]) -> None:
    """Parts that came, and were not wanted."""
    numbers = {each.number for each in chosen}
    rest = [each.number for each in pieces.of(call.store, upload.holder) if each.number not in numbers]
    if rest:
        pieces.drop(call, upload.holder, *rest)
