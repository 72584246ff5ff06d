"""A verdict told, agreed to, and done to the letter: what it says goes is deleted in its order, and nothing else."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.cloud import ending, erase, instances, s3
from tasks.cloud.clients import Cloud
from tasks.kit.confirm import confirm
from tasks.kit.fault import CloudFault
from tasks.kit.report import Report, reporting
from tasks.plan import verdict
from tasks.plan.things import (
    Bucket,
    Bundle,
    Image,
    Instance,
    KeyPair,
    Others,
    Receipt,
    Snapshot,
    Thing,
    Uploads,
    Verdict,
)


@dataclass(frozen=True)
class Wish:
    """What was asked for: `doit deregister:debian-12 --all`, say, in its parts."""

    task: str  # deregister:debian-12
    options: tuple[str, ...] = ()

    @property
    def again(self) -> str:
        return " ".join(("doit", self.task, *self.options, "--yes"))


def carry_out(verdicts: Sequence[Verdict], cloud: Cloud, wish: Wish, *, yes: bool) -> None:
    """Raises Fault when it was not agreed to; and, after all else was done, when something was asked for and refused."""
    going = [each.thing for each in verdicts if each.goes]
    sys.stdout.write(verdict.told(verdicts) if verdicts else "")
    if going:
        confirm(question(going), yes=yes, again=wish.again)
        with reporting(wish.task) as report:
            Hands(cloud, report).obey(going)
    sys.stdout.write(f"{len(going)} of {len(verdicts)} gone\n" if going else "nothing goes\n")
    if refused := verdict.refusals(verdicts):
        raise CloudFault(
            f"{len(refused)} of what was asked for was refused",
            evidence=refused,
            where=f"{cloud.name}, account {cloud.account} in {cloud.region}",
        )


def question(going: Sequence[Thing]) -> str:
    """'2 images, 1 bundle go, and nothing brings them back.'"""
    kinds = dict.fromkeys(each.what for each in going)
    counts = [(sum(each.what == kind for each in going), kind) for kind in kinds]
    told = ", ".join(f"{count} {kind}{'s' * (count > 1 and kind[-1] != 's')}" for count, kind in counts)
    return f"{told}: this cannot be undone."


class Hands:
    """They decide nothing."""

    def __init__(self, cloud: Cloud, report: Report) -> None:
        self.cloud, self.report = cloud, report
        self.ec2, self.s3 = cloud.ec2(), cloud.s3()

    def obey(self, going: Sequence[Thing]) -> None:
        machines = [each for each in going if isinstance(each, Instance)]
        if machines:
            self.end(machines)
        for each in going:
            if not isinstance(each, Instance):
                self.report.said(f"deleting {each.what} {each}")
                self.deed(each)

    def end(self, machines: Sequence[Instance]) -> None:
        self.report.said(f"waiting for {verdict.some([each.id for each in machines])} to end")
        instances.end(
            self.ec2,
            [each.id for each in machines],
            moved=lambda done, total: self.report.moved(done, total, "instances"),
        )

    def deed(self, thing: Thing) -> None:
        match thing:
            case Image():
                ending.deregister(self.ec2, thing.id)
            case Snapshot():
                ending.delete_snapshot(self.ec2, thing.id)
            case KeyPair():
                ending.delete_key_pair(self.ec2, thing.name)
            case Bundle():
                self.bundle(thing)
            case Uploads():
                erase.end_uploads(self.bucket(thing.bucket), thing.ids)
            case Bucket():
                erase.drop(self.bucket(thing.id))
            case Receipt():
                thing.path.unlink(missing_ok=True)
            case Others() | Instance():
                raise AssertionError(f"{thing.what} never go this way")

    def bundle(self, bundle: Bundle) -> None:
        """The manifest in a request of its own, so that nobody finds half a bundle."""
        bucket, done = self.bucket(bundle.bucket), 0

        def moved(count: int) -> None:
            nonlocal done
            done += count
            self.report.moved(done, len(bundle.keys), "objects")

        first = [key for key in bundle.keys if key == bundle.manifest]
        erase.delete(bucket, first, moved)
        erase.delete(bucket, bundle.keys[len(first) :], moved)

    def bucket(self, name: str) -> s3.Bucket:
        return s3.Bucket(self.s3, name, owner=self.cloud.account, region=self.cloud.region)
