"""Whether an image may be registered: by what was uploaded, what booted, and what the scan found. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from tasks.kit.fault import ImageFault
from tasks.plan.things import is_snapshot
from tasks.spec.record import BootReport, Finding, ImgStamp, ScanReport, UploadReceipt

TOLD = 20  # findings that a fault names


def same(image: ImgStamp, stored: UploadReceipt, boot: BootReport, scan: ScanReport) -> None:
    """Raises ImageFault unless all of it is about this very image."""
    for what, sha256 in (
        ("the upload", stored.sha256),
        ("boot.json", boot.sha256),
        ("scan.json", scan.sha256),
    ):
        if sha256 != image.file.sha256:
            raise ImageFault(
                f"{what} is of another image ({sha256[:12]}) than {image.file.name} ({image.file.sha256[:12]})",
                hint="run doit again: what is stale is made anew",
            )


def uploaded(stored: UploadReceipt, image: str, *, ebs: bool) -> None:
    """Raises ImageFault unless it was uploaded in the form that the image is to have."""
    if is_snapshot(stored.location) != ebs:
        raise ImageFault(
            f"the upload's receipt speaks of {stored.location}, and {image} is to be {'EBS' if ebs else 'S3'}-backed",
            hint=f"doit upload:{image} makes what it is to be made of",
        )


def booted(boot: BootReport, file: str, firmwares: Sequence[str]) -> None:
    """Raises ImageFault unless every boot went well, and there was one by each firmware that the image claims."""
    if failed := list(_failed(boot)):
        raise ImageFault(
            f"{file} did not boot as it should, and is not registered",
            evidence=failed,
            hint="console.log has what it said; put it right in the image's configuration and run doit again",
        )
    if not boot.boots or not all(each.checks for each in boot.boots):
        raise ImageFault(
            "boot.json tells of no check: nothing shows that the image boots",
            hint="delete it and run doit again",
        )
    proved = {each.firmware for each in boot.boots}
    if lacking := [each for each in firmwares if each not in proved]:
        raise ImageFault(
            f"boot.json tells of no boot by {' and '.join(lacking)}: {file} claims what was not proved, and is not registered",
            hint="delete it and run doit again; or claim less: `boot_mode:` of the image's `ami:`",
        )


def _failed(boot: BootReport) -> Iterator[str]:
    """Each with the way in which it was started, where there are several."""
    for each in boot.boots:
        way = f"{each.firmware}, {each.drive}: " if len(boot.boots) > 1 else ""
        yield from (f"{way}{check.name}: {check.detail}" for check in each.checks if not check.passed)


def clean(scan: ScanReport, file: str) -> None:
    """Raises ImageFault when the image holds what no image should."""
    if scan.findings:
        raise ImageFault(
            f"the scan found {len(scan.findings)} thing(s) in {file} that no image should hold; it is not registered",
            evidence=_told(scan.findings),
            hint="keep them out of the image, or name them in `allow_findings:` of its configuration",
        )


def _told(findings: Sequence[Finding]) -> Iterable[str]:
    yield from (f"{finding.path}: {finding.reason}" for finding in findings[:TOLD])
    if len(findings) > TOLD:
        yield f"and {len(findings) - TOLD} more"
