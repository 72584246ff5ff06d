"""What the tests share that end things: moto in their own process, so that what it cannot be told by requests is told it directly."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer

from tasks import upload
from tasks.cloud.clients import Cloud, connect
from tasks.kit import files
from tasks.spec import names, record
from tasks.spec.cloud import LOCAL_ACCOUNT, CloudSpec
from tests import clouds, proofs
from tests.clouds import SHA256, Relay, elsewhere, relaying

IMAGE = "debian-12"
BUCKET = f"doit-ami-{LOCAL_ACCOUNT}-us-east-1"


class InS3(Ami):
    """moto itself knows no S3-backed images."""

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        return []


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Its address; without the 1301 images of Amazon's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@dataclass
class Place:
    """An empty cloud behind a relay, and the paths of a project that builds for it."""

    relay: Relay
    at: Path

    def __post_init__(self) -> None:
        self.spec: CloudSpec = elsewhere(self.relay.url)
        self.cloud: Cloud = connect(self.spec, self.at)
        self.ec2, self.s3 = self.cloud.ec2(), self.cloud.s3()
        self.shelf = names.Shelf(self.at / "build", self.at / "keys", IMAGE, "aws")

    @property
    def backend(self) -> Any:
        return ec2_backends[LOCAL_ACCOUNT]["us-east-1"]

    def upload(self, seed: str = "one", image: str = IMAGE, parts: int = 3) -> str:
        """A bundle where the stage puts it, with its receipt; its location."""
        folder = self.at / f"bundle-{seed}" / "bundle"
        manifest, stamp = clouds.bundle(folder, seed=seed, parts=parts, size=100)
        wish = upload.Order(image=image, cloud=self.spec)
        paths = {"manifest": manifest, "bundle": stamp, "receipt": self.shelf.other(image).upload}
        upload.body(wish, report=clouds.Heard(), home=self.at, **paths)
        return record.UploadReceipt.read(paths["receipt"]).location

    def image(self, location: str = "", image: str = IMAGE, name: str = "one") -> str:
        """An image of ours: S3-backed when it has a location, else of a snapshot that moto makes."""
        id_: str = self.ec2.register_image(Name=name)["ImageId"]
        self.tag(id_, image)
        made = self.backend.amis[id_]
        if location:
            made.image_location, made.root_device_type = location, "instance-store"
            made.__class__ = InS3
            del self.backend.snapshots[made.ebs_snapshot.id]
        elif image:
            made.root_device_type = "ebs"
            self.tag(made.ebs_snapshot.id, image)
        return id_

    def tag(self, thing: str, image: str = IMAGE) -> None:
        if image:
            self.ec2.create_tags(Resources=[thing], Tags=[{"Key": names.IMAGE_TAG, "Value": image}])

    def registered(self, id_: str, location: str) -> None:
        """The receipts of the stage `ami`."""
        record.AmiReceipt(
            account=LOCAL_ACCOUNT, region="us-east-1", sha256=SHA256, cloud_id="", at=clouds.MADE,
            id=id_, name="one", digest="d", location=location, boot=proofs.report(),
        ).write(self.shelf.ami)  # fmt: skip
        files.write(self.shelf.ami_id, f"{id_}\n")

    def made(self) -> tuple[str, str]:
        """An uploaded and registered image, with all its receipts: id, location."""
        location = self.upload()
        id_ = self.image(location)
        self.registered(id_, location)
        return id_, location

    def instance(self, ami: str, image: str = IMAGE, key: str = "") -> str:
        more: dict[str, Any] = {"KeyName": key} if key else {}
        made = self.ec2.run_instances(
            ImageId=ami, MinCount=1, MaxCount=1, InstanceType="m1.small", **more
        )
        id_: str = made["Instances"][0]["InstanceId"]
        self.tag(id_, image)
        return id_

    def images(self) -> list[str]:
        return sorted(self.backend.amis)

    def snapshots(self) -> list[str]:
        return sorted(self.backend.snapshots)

    def objects(self, bucket: str = BUCKET) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def receipts(self) -> list[str]:
        return (
            sorted(path.name for path in self.shelf.there.glob("*")) if self.shelf.there.is_dir() else []
        )


@pytest.fixture
def place(moto: str, tmp_path: Path, credentials: pytest.MonkeyPatch) -> Iterator[Place]:
    del credentials
    moto_api_backend.reset()
    with relaying(moto) as relay:
        yield Place(relay, tmp_path)
