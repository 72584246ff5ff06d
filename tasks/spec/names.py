"""Every path of ours, and every name of ours in AWS, given once. Nobody else writes "rootfs.tar"."""

import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.spec.cloud import CloudSpec

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "doit-ami")  # ids derive from names, so that two builds agree

TAKEN = ("cloud", "ec2", "keys", "mirror")  # folders beside those of the images, and of their keys
YUM = "yum"
# The tags by which our things in a cloud are found again, without any state kept here.
OURS = "doit-ami:"  # what begins so is no user's tag
IMAGE_TAG = f"{OURS}image"  # the image's name in the configuration
DIGEST_TAG = f"{OURS}digest"  # of everything that makes an AMI itself
SHA256_TAG = f"{OURS}sha256"  # of the disk image
BUCKET_TAG = f"{OURS}bucket"  # on buckets we made: their settings are ours to mend
NAME_TAG = "Name"  # what AWS's console shows
REACHED_TAG = (
    "aws:local:tcp/"  # and a port of the instance: where on the loopback the local cloud leads to it
)


@dataclass(frozen=True)
class Shelf:
    """Where the things of one image lie, for one cloud."""

    build: Path
    keys: Path
    image: str
    cloud: str

    def other(self, image: str) -> "Shelf":
        """Of another image, in the same folders."""
        return replace(self, image=image)

    @property
    def here(self) -> Path:
        return self.build / self.image

    @property
    def there(self) -> Path:
        return self.here / self.cloud

    @property
    def home(self) -> Path:
        """The local cloud's own folder: one cloud for all images."""
        return home_of(self.build)

    @property
    def private_key(self) -> Path:
        return self.keys / self.image / "ssh_key"

    @property
    def public_key(self) -> Path:
        return self.keys / self.image / "ssh_key.pub"

    @property
    def signing_key(self) -> Path:
        return self.keys / self.image / "pk.pem"

    @property
    def certificate(self) -> Path:
        return self.keys / self.image / "cert.pem"

    @property
    def rootfs(self) -> Path:
        return self.here / "rootfs.tar"

    @property
    def yum(self) -> Path:
        """What dnf works with beside rootfs.tar, and what it fetched when a run failed."""
        return self.here / YUM

    @property
    def rootfs_stamp(self) -> Path:
        return self.here / "rootfs.stamp"

    @property
    def mirror(self) -> Path:
        """Beside each other, so that one web server serves them all."""
        return self.build / "mirror" / self.image

    @property
    def mirror_stamp(self) -> Path:
        """In the mirror, so that the two are never of different ages."""
        return self.mirror / "mirror.stamp"

    @property
    def mirror_work(self) -> Path:
        """What was fetched for the mirror. Apart from it: nobody is to serve settings with passwords in them."""
        return self.here / "mirror"

    @property
    def img(self) -> Path:
        return self.here / f"{self.image}.img"

    @property
    def img_stamp(self) -> Path:
        return self.here / f"{self.image}.img.stamp"

    @property
    def scan(self) -> Path:
        return self.here / "scan.json"

    @property
    def boot(self) -> Path:
        return self.here / "boot.json"

    @property
    def console(self) -> Path:
        return self.here / "console.log"

    @property
    def bundle_folder(self) -> Path:
        return self.there / "bundle"

    def manifest(self, prefix: str | None) -> Path:
        """Named after the image's file, as ec2-bundle-image does, unless a prefix is wanted."""
        return self.bundle_folder / f"{prefix or self.img.name}.manifest.xml"

    @property
    def blocks(self) -> Path:
        """The block list: what an EBS-backed image has in a manifest's place."""
        return self.here / f"{self.image}.blocks.json"

    @property
    def ledger(self) -> Path:
        """The block list of the snapshot that was made last: what the next one may be a child of."""
        return self.there / "snapshot.blocks.json"

    @property
    def journal(self) -> Path:
        """What of a snapshot was acknowledged so far; there as long as it is not completed."""
        return self.there / "upload.journal"

    @property
    def bundle(self) -> Path:
        return self.there / "bundle.stamp"

    @property
    def upload(self) -> Path:
        return self.there / "upload.stamp"

    @property
    def ami_id(self) -> Path:
        return self.there / "ami-id"

    @property
    def ami(self) -> Path:
        return self.there / "ami.json"

    @property
    def instance(self) -> Path:
        return self.there / "instance.json"

    @property
    def launching(self) -> Path:
        """What is being started; there as long as nobody knows how it ended."""
        return self.there / "launching.json"

    @property
    def known_hosts(self) -> Path:
        """The host keys of the instances, by their ids."""
        return self.there / "known_hosts"

    @property
    def logs(self) -> Path:
        return self.here / "log"

    def log(self, stage: str) -> Path:
        return self.logs / f"{stage}.log"


def home_of(build: Path) -> Path:
    return build / "cloud"


def ec2_key(home: Path) -> Path:
    """The private half of what the local cloud, being EC2, decrypts bundles with."""
    return home / "ec2" / "pk.pem"


def ec2_certificate(home: Path) -> Path:
    return home / "ec2" / "cert.pem"


def mirror_key(keys: Path) -> Path:
    """The private half of what mirrors of Debian's family are signed with: OpenPGP, in ASCII armour."""
    return keys / "mirror" / "openpgp.asc"


def recipient(cloud: CloudSpec, home: Path) -> Path:
    """EC2's public certificate: what a bundle is encrypted to, so that the service can read it."""
    return Path(cloud.ec2_certificate) if cloud.ec2_certificate else ec2_certificate(home)


def key_pair(image: str, digest: str) -> str:
    """What an image's SSH key is called in EC2: another key has another name."""
    return f"doit-ami-{image}-{digest[:12]}"


def folder(cloud: CloudSpec, image: str) -> str:
    """Where an image's bundles lie in the bucket: each in a folder of its own below this one."""
    return "/".join(filter(None, (cloud.prefix, image)))


def schema_of(model: str) -> Path:
    return Path("config") / "schema" / f"{model}.json"


def filesystem_id(image: str) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, f"{image} root")


def disk_id(image: str, part: str) -> uuid.UUID:
    """Of the partition table (`part`: disk), and of each partition in it."""
    return uuid.uuid5(NAMESPACE, f"{image} {part}")


def hash_seed(image: str) -> uuid.UUID:
    """Of the directory index: random in an ordinary mke2fs, ours derives from the name."""
    return uuid.uuid5(NAMESPACE, f"{image} directories")
