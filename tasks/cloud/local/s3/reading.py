"""Objects got, whole or in part, and looked at."""

import re
from datetime import UTC, datetime
from typing import Any

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.s3 import acl, pieces
from tasks.cloud.local.s3.service import SERVICE, Bucket, Object, denied, held, visited
from tasks.cloud.local.s3.writing import ENCRYPTED, stale, sums

RANGE = re.compile(r"bytes=(\d*)-(\d*)")
PARTIAL = 206
ANSWERS = {  # what an address may ask to be told instead
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
}


@SERVICE.operation
def get_object(call: Call) -> Answer:
    found, answer, start = _looked_at(call)
    return {**answer, "Body": pieces.stream(call.store, found.holder, start, answer["ContentLength"])}


@SERVICE.operation
def head_object(call: Call) -> Answer:
    return _looked_at(call)[1]


def _looked_at(call: Call) -> tuple[Object, dict[str, Any], int]:
    """The object, what is told of it, and where in it to begin."""
    bucket = visited(call)
    found = _readable(call, bucket)
    _wanted(call, found)
    start, size, part = _part(call, found)
    whole = not part
    headers = found.about["headers"] | {
        name: call.get(asked) for asked, name in ANSWERS.items() if call.get(asked)
    }
    answer = {
        "AcceptRanges": "bytes",
        "LastModified": found.made,
        "ContentLength": size,
        "ETag": f'"{found.etag}"',
        "Metadata": found.about["metadata"],
        **headers,
        **ENCRYPTED,
        **part,
    }
    if call.get("ChecksumMode") and whole:
        answer |= sums(found.about)
    if found.about["tags"] and call.operation == "GetObject":
        answer["TagCount"] = len(found.about["tags"])
    return found, answer, start


def _readable(call: Call, bucket: Bucket) -> Object:
    """To a stranger, what is not there looks like what is not theirs."""
    if bucket.account == call.account:
        return held(call, bucket)
    try:
        found = held(call, bucket)
    except Refusal:
        raise denied() from None
    if not acl.readable(bucket, found.about):
        raise denied()
    return found


def _wanted(call: Call, found: Object) -> None:
    """Raises Refusal when the caller knows it already, or wants another one. ETags come before times, as HTTP has it."""
    match, none = call.get("IfMatch"), call.get("IfNoneMatch")
    since, until = call.get("IfModifiedSince"), call.get("IfUnmodifiedSince")
    at = datetime.fromtimestamp(found.made, UTC)
    if match and not _named(match, found):
        raise stale("If-Match")
    if until and not match and at > _zoned(until):
        raise stale("If-Unmodified-Since")
    if _named(none, found) if none else since and at <= _zoned(since):
        raise Refusal("NotModified", "Not Modified", 304)


def _named(etags: str, found: Object) -> bool:
    return any(each.strip().strip('"') in ("*", found.etag) for each in etags.split(","))


def _zoned(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _part(call: Call, found: Object) -> tuple[int, int, dict[str, Any]]:
    """What is asked for: (start, size, what to tell of it when it is not all)."""
    told, number = call.get("Range"), call.get("PartNumber")
    if told and number is not None:
        raise Refusal(
            "InvalidRequest", "Cannot specify both Range header and partNumber query parameter"
        )
    if number is not None:
        start, size = _piece(call, found, number)
        count = found.etag.partition("-")[2]
        more: dict[str, Any] = {"PartsCount": int(count)} if count else {}
    else:
        asked = _range(told, found.size) if told else None
        if asked is None:
            return 0, found.size, {}
        (start, size), more = asked, {}
    if size:
        more["ContentRange"] = f"bytes {start}-{start + size - 1}/{found.size}"
    return start, size, {**more, "ResponseMetadata": {"HTTPStatusCode": PARTIAL}}


def _range(told: str, size: int) -> tuple[int, int] | None:
    """(start, size); None when it is no range that S3 understands, which it then ignores."""
    said = RANGE.fullmatch(told.strip())
    if not said or not (said[1] or said[2]) or (said[1] and said[2] and int(said[2]) < int(said[1])):
        return None
    start = int(said[1]) if said[1] else max(0, size - int(said[2]))
    end = min(int(said[2]), size - 1) if said[1] and said[2] else size - 1
    if start >= size or end < start:
        raise Refusal(
            "InvalidRange",
            "The requested range is not satisfiable",
            416,
            {"RangeRequested": told, "ActualObjectSize": str(size)},
        )
    return start, end + 1 - start


def _piece(call: Call, found: Object, number: int) -> tuple[int, int]:
    start = 0
    for each in pieces.of(call.store, found.holder):
        if each.number == number:
            return start, each.size
        start += each.size
    raise Refusal(
        "InvalidPartNumber",
        "The requested partnumber is not satisfiable",
        416,
        {"PartNumberRequested": str(number)},
    )
