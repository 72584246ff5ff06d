"""From packages to an AMI: what depends on what.

    keys ──────────────┬──────────┬───────────────┐
                       │          │               │
    rootfs ──────────► img ─────► boot ──────┐    │
      ▲ mirror         │                     │    │
                       ├────────► scan ──────┤    │
                       └────────► bundle ◄───│────┘
                                    │        │
                                  upload ──► ami ──► launch

One family of tasks for each stage, one task in it for each image: `doit boot:debian-12`. Bare `doit` makes the AMI of
every image that config/site.yaml names, on the cloud that it names. A mirror is made when it is asked for, or when the
site says that images are made of what mirrors hold.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tasks import (
    ami,
    authorize,
    blocks,
    boot,
    bundle,
    console,
    delete_bundle,
    deregister,
    host,
    images,
    img,
    instances,
    keys,
    launch,
    local_faults,
    local_stop,
    mirror,
    rootfs,
    scan,
    schema,
    snapshot,
    ssh,
    terminate,
    upload,
)
from tasks.cloud import local
from tasks.cloud.instances import gone
from tasks.kit.confirm import YES
from tasks.spec import names
from tasks.spec.load import load
from tasks.spec.model import Image
from tasks.spec.names import Shelf
from tasks.spec.record import incomplete, swapped
from tasks.step import Step, configuration, deed, leaving_out, step, told

TEMPLATES = Path("templates")
FORGOTTEN = "the cloud has forgotten it"
SWAPPED = "it is not what was stamped"
ENDED = "its instances run no more"
INCOMPLETE = "files of it are gone or changed"

PROJECT = told(load)
SITE, CLOUD = PROJECT.site, PROJECT.cloud
BUILD, KEYS = Path(SITE.build), Path(SITE.keys)
HOME = names.home_of(BUILD)  # the local cloud's
MIRRORED = SITE.sources == "mirror"
SHELVES = [Shelf(BUILD, KEYS, image.name, CLOUD.name) for image in PROJECT.images]

# They are asked for by name: `doit img` is about what bare `doit` makes.
OTHERS = {image.name for image in PROJECT.images} - set(SITE.images)

DOIT_CONFIG = configuration(default=[f"ami:{name}" for name in SITE.images], build=BUILD)


def shelves() -> Iterator[tuple[Image, Shelf]]:
    return zip(PROJECT.images, SHELVES, strict=True)


def templates(*wanted: str) -> dict[str, Path]:
    return {name: TEMPLATES / name for name in wanted}


def task_host() -> Step:
    """show what this machine needs and why; --install brings what is missing"""
    needs = {
        image.name: host.Needs(
            space=image.disk.size + host.BUILD_SPACE,
            mirrors=tuple(url for each in image.repositories for url in each.addresses),
            tools=tuple(
                each
                for stage, order in (
                    (rootfs, rootfs.Order.of(image, PROJECT.epoch)),
                    (img, img.Order.of(image, PROJECT.epoch)),
                    (boot, boot.Order.of(image, PROJECT.image(image.boot.kernel_of))),
                )
                for each in stage.tools(order)
            ),
            mirror_tools=mirror.tools(mirror.Order.of(image, PROJECT.epoch)),
        )
        for image in PROJECT.images
    }
    order = host.Order(build=SITE.build, usual=SITE.images, images=needs, mirrored=MIRRORED)
    return deed(host, order, given={}, params=[host.INSTALL, host.TESTS, host.MIRROR, host.IMAGE])


@leaving_out(OTHERS)
def task_keys() -> Iterator[Step]:
    """→ build/keys/: the SSH key and the signing key of each image, made once"""
    for image, at in shelves():
        yield step(
            image.name,
            keys,
            keys.Order(owner=image.name, ssh=image.ssh.key),
            needs={},
            makes={
                "private_key": at.private_key,
                "public_key": at.public_key,
                "signing_key": at.signing_key,
                "certificate": at.certificate,
            },
            kept=True,
        )
    if CLOUD.kind == "local":
        yield step(
            "ec2",
            keys,
            keys.Order(owner="ec2", ssh=None),
            needs={},
            makes={"signing_key": names.ec2_key(HOME), "certificate": names.ec2_certificate(HOME)},
            kept=True,
        )


@leaving_out(OTHERS)
def task_rootfs() -> Iterator[Step]:
    """packages → rootfs.tar: every package of the image, installed and configured"""
    for image, at in shelves():
        order = rootfs.Order.of(image, PROJECT.epoch)
        yield step(
            image.name,
            rootfs,
            order,
            needs={
                "templates": templates(*rootfs.hooks(order)),
                **({"mirror_stamp": at.mirror_stamp} if MIRRORED else {}),
            },
            makes={"rootfs": at.rootfs, "stamp": at.rootfs_stamp},
            given={"mirror": at.mirror} if MIRRORED else {},
            doubts={SWAPPED: partial(swapped, at.rootfs_stamp, at.rootfs)},
            log=at.log("rootfs"),
            sweep=[at.yum],
        )


@leaving_out(OTHERS)
def task_mirror() -> Iterator[Step]:
    """packages → build/mirror/<image>/: a repository of one's own, of exactly what the image needs"""
    for image, at in shelves():
        order = mirror.Order.of(image, PROJECT.epoch)
        yield step(
            image.name,
            mirror,
            order,
            needs={"templates": templates(*mirror.hooks(order))},
            makes={"stamp": at.mirror_stamp},
            given={"mirror": at.mirror, "work": at.mirror_work, "key": names.mirror_key(KEYS)},
            doubts={INCOMPLETE: partial(incomplete, at.mirror_stamp, at.mirror)},
            log=at.log("mirror"),
            kept=True,
            params=[mirror.UPDATE],
        )


@leaving_out(OTHERS)
def task_img() -> Iterator[Step]:
    """rootfs.tar → <image>.img: the tree, what the configuration lays over it, and a file system of the two"""
    for image, at in shelves():
        order = img.Order.of(image, PROJECT.epoch)
        yield step(
            image.name,
            img,
            order,
            needs={
                "templates": templates(*order.templates),
                "scripts": {script.run: Path(script.run) for script in image.scripts},
                "rootfs_stamp": at.rootfs_stamp,
                "public_key": at.public_key,
            },
            makes={"img": at.img, "stamp": at.img_stamp},
            doubts={SWAPPED: partial(swapped, at.img_stamp, at.img)},
            given={"rootfs": at.rootfs},
            log=at.log("img"),
        )


@leaving_out(OTHERS)
def task_boot() -> Iterator[Step]:
    """<image>.img → boot.json, console.log: it boots under QEMU and lets its key in"""
    for image, at in shelves():
        lending = PROJECT.image(image.boot.kernel_of)
        lender = at.other(lending.name) if lending else None
        order = boot.Order.of(image, lending)
        yield step(
            image.name,
            boot,
            order,
            needs={
                "templates": templates(order.template),
                "img_stamp": at.img_stamp,
                "rootfs_stamp": at.rootfs_stamp,
                "private_key": at.private_key,
                **({"lender_stamp": lender.img_stamp} if lender else {}),
            },
            makes={"boot": at.boot, "console": at.console},
            given={"img": at.img, **({"lender": lender.img} if lender else {})},
            log=at.log("boot"),
            sweep=[at.logs],
        )


@leaving_out(OTHERS)
def task_scan() -> Iterator[Step]:
    """<image>.img → scan.json: no secret in it, and no identity"""
    for image, at in shelves():
        yield step(
            image.name,
            scan,
            scan.Order.of(image),
            needs={"stamp": at.img_stamp, "public_key": at.public_key},
            makes={"scan": at.scan},
            given={"image": at.img},
        )


@leaving_out(OTHERS)
def task_bundle() -> Iterator[Step]:
    """<image>.img → what is sent: the list of its blocks; of S3-backed images, manifest and encrypted, signed parts"""
    for image, at in shelves():
        yield listed(image, at) if image.ami.backing == "ebs" else bundled(image, at)


def listed(image: Image, at: Shelf) -> Step:
    return step(
        image.name,
        blocks,
        blocks.Order(image=image.name),
        needs={"stamp": at.img_stamp},
        makes={"blocks": at.blocks},
        given={"image": at.img},
    )


def bundled(image: Image, at: Shelf) -> Step:
    return step(
        image.name,
        bundle,
        bundle.Order.of(image, PROJECT.account),
        needs={
            "stamp": at.img_stamp,
            "key": at.signing_key,
            "certificate": at.certificate,
            **({"ec2_certificate": names.recipient(CLOUD, HOME)} if PROJECT.account else {}),
        },
        makes={"manifest": at.manifest(image.bundle.prefix), "bundle": at.bundle},
        given={"image": at.img},
        sweep=[at.bundle_folder],
    )


@leaving_out(OTHERS)
def task_upload() -> Iterator[Step]:
    """what is to be sent → a snapshot, or a bucket, of the cloud; the receipt is upload.stamp"""
    for image, at in shelves():
        ebs = image.ami.backing == "ebs"
        made = (
            {"stamp": at.img_stamp, "blocks": at.blocks}
            if ebs
            else {"manifest": at.manifest(image.bundle.prefix), "bundle": at.bundle}
        )
        growing = {"img": at.img, "ledger": at.ledger, "journal": at.journal} if ebs else {}
        stage = snapshot if ebs else upload
        yield step(
            image.name,
            stage,
            stage.Order(image=image.name, cloud=CLOUD),
            needs=made,
            makes={"receipt": at.upload},
            given={"home": at.home, **growing},
            doubts={FORGOTTEN: partial(local.forgotten, at.upload, at.home)},
            sweep=[at.ledger, at.journal] if ebs else [],
        )


@leaving_out(OTHERS)
def task_ami() -> Iterator[Step]:
    """what was uploaded, booted and found clean → an AMI; its id is in ami-id, the rest in ami.json"""
    for image, at in shelves():
        yield step(
            image.name,
            ami,
            ami.Order.of(image, CLOUD),
            needs={
                "upload": at.upload,
                "img": at.img_stamp,
                "boot": at.boot,
                "scan": at.scan,
                **({"uefi_data": Path(image.ami.uefi_data)} if image.ami.uefi_data else {}),
            },
            makes={"ami_id": at.ami_id, "receipt": at.ami},
            given={"home": at.home},
            doubts={FORGOTTEN: partial(local.forgotten, at.ami, at.home)},
        )


def task_images() -> Step:
    """list the images of ours that the cloud holds; --json for machines"""
    receipts = {image.name: at.ami for image, at in shelves()}
    return deed(
        images,
        images.Order(cloud=CLOUD),
        given={"home": HOME, "receipts": receipts},
        params=[images.JSON],
        looks=True,
    )


def task_instances() -> Step:
    """list the instances of ours that the cloud holds; --json for machines"""
    order = instances.Order(cloud=CLOUD)
    return deed(instances, order, given={"home": HOME}, params=[instances.JSON], looks=True)


def task_authorize() -> Step:
    """open the ports that the cloud's configuration names, to those whom it names"""
    return deed(authorize, authorize.Order.of(CLOUD), given={"home": HOME})


@leaving_out(OTHERS)
def task_launch() -> Iterator[Step]:
    """AMI → instances that run and are reached; what one needs to log in is in instance.json"""
    for image, at in shelves():
        data = image.launch.user_data
        lending = PROJECT.image(image.boot.kernel_of) if CLOUD.kind == "local" else None
        lender = at.other(lending.name) if lending else None
        yield step(
            image.name,
            launch,
            launch.Order.of(image, CLOUD),
            needs={
                "ami": at.ami,
                "public_key": at.public_key,
                **({"user_data": Path(data)} if data else {}),
                **({"lender_stamp": lender.img_stamp} if lender else {}),
            },
            makes={"receipt": at.instance},
            given={
                **({"lender": lender.img} if lender else {}),
                "private_key": at.private_key,
                "launching": at.launching,
                "hosts": at.known_hosts,
                "home": HOME,
            },
            doubts={
                FORGOTTEN: partial(local.forgotten, at.instance, HOME),
                ENDED: partial(gone, at.instance, CLOUD, HOME),
            },
            sweep=[at.known_hosts, at.launching],
            params=[launch.COUNT, launch.TYPE, launch.KEEP],
        )


@leaving_out(OTHERS)
def task_ssh() -> Iterator[Step]:
    """log in to an instance that was launched; --command runs one there, --instance chooses one of several"""
    for image, at in shelves():
        yield deed(
            ssh,
            ssh.Order.of(image, CLOUD),
            given={
                "receipt": at.instance,
                "private_key": at.private_key,
                "hosts": at.known_hosts,
                "home": HOME,
            },
            params=[ssh.COMMAND, ssh.INSTANCE],
            name=image.name,
            looks=True,
        )


@leaving_out(OTHERS)
def task_console() -> Iterator[Step]:
    """show what an instance has written on its serial console; --instance chooses one of several"""
    for image, _ in shelves():
        order = console.Order(image=image.name, cloud=CLOUD)
        yield deed(
            console, order, given={"home": HOME}, params=[console.INSTANCE], name=image.name, looks=True
        )


@leaving_out(OTHERS)
def task_terminate() -> Iterator[Step]:
    """end the instances of an image, when told yes; --instance ends one"""
    for image, at in shelves():
        yield deed(
            terminate,
            terminate.Order(image=image.name, cloud=CLOUD),
            given={
                "home": HOME,
                "receipt": at.instance,
                "launching": at.launching,
                "known_hosts": at.known_hosts,
            },
            params=[terminate.INSTANCE, YES],
            name=image.name,
        )


@leaving_out(OTHERS)
def task_deregister() -> Iterator[Step]:
    """take back an image's AMI and what only it was made of, when told yes; --ami, --all, --force"""
    for image, at in shelves():
        yield deed(
            deregister,
            deregister.Order.of(image, CLOUD),
            given={
                "home": HOME,
                "ami_id": at.ami_id,
                "receipt": at.ami,
                "upload": at.upload,
                "ledger": at.ledger,
                "journal": at.journal,
            },
            params=[deregister.AMI, deregister.ALL, deregister.FORCE, YES],
            name=image.name,
        )


@leaving_out(OTHERS)
def task_delete_bundle() -> Iterator[Step]:
    """delete an image's bundle from its bucket, when told yes; --manifest, --prefix, --clear"""
    for image, at in shelves():
        yield deed(
            delete_bundle,
            delete_bundle.Order.of(image, CLOUD),
            given={"home": HOME, "upload": at.upload},
            params=[delete_bundle.MANIFEST, delete_bundle.PREFIX, delete_bundle.CLEAR, YES],
            name=image.name,
        )


def task_local_stop() -> Step:
    """stop the local cloud; what it holds stays"""
    return deed(local_stop, local_stop.Order(), given={"home": HOME})


def task_local_faults() -> Step:
    """have the local cloud fail, to see what happens: --operation, --kind, --times, --seconds, --lag, --pending, --clear"""
    return deed(local_faults, local_faults.Order(), given={"home": HOME}, params=local_faults.PARAMS)


def task_schema() -> Iterator[Step]:
    """→ config/schema/: what the keys of the configuration are, for editors"""
    for name in schema.MODELS:
        yield step(
            name,
            schema,
            schema.Order(model=name),
            needs={},
            makes={"schema": names.schema_of(name)},
            kept=True,
        )
