"""Stages called as the graph calls them, in a project of a test's own."""

import os
from pathlib import Path
from typing import Any

from tasks import boot, img, rootfs
from tasks.kit.report import Silent
from tasks.spec.load import Project as Loaded
from tasks.spec.load import load
from tasks.spec.model import Image
from tasks.spec.names import Shelf
from tests.projects import Project

NAME = "debian-12"


def loaded(project: Project) -> Loaded:
    """Its configuration. The working directory becomes the project's, as doit has it."""
    os.chdir(project.path)
    return load()


def image(project: Loaded, name: str = NAME) -> Image:
    return next(each for each in project.images if each.name == name)


def shelf(image: str = NAME) -> Shelf:
    return Shelf(Path("build"), Path("build/keys"), image, "local")


def files(names: Any) -> dict[str, Path]:
    return {name: Path("templates") / name for name in names}


def log(at: Shelf, stage: str) -> Path:
    at.log(stage).parent.mkdir(parents=True, exist_ok=True)
    return at.log(stage)


def make_rootfs(order: rootfs.Order, at: Shelf) -> None:
    hooks = files(rootfs.hooks(order))
    rootfs.body(
        order,
        report=Silent(),
        log=log(at, "rootfs"),
        templates=hooks,
        rootfs=at.rootfs,
        stamp=at.rootfs_stamp,
    )


def make_img(order: img.Order, at: Shelf, **other: Path) -> None:
    """`other`: paths that differ from the shelf's."""
    paths = {
        "rootfs": at.rootfs,
        "rootfs_stamp": at.rootfs_stamp,
        "public_key": at.public_key,
        "img": at.img,
        "stamp": at.img_stamp,
    } | other
    scripts = {script.run: Path(script.run) for script in order.scripts}
    img.body(
        order,
        report=Silent(),
        log=log(at, "img"),
        templates=files(order.templates),
        scripts=scripts,
        **paths,
    )


def make_boot(order: boot.Order, at: Shelf, **other: Path) -> None:
    paths = {
        "img": at.img,
        "img_stamp": at.img_stamp,
        "rootfs_stamp": at.rootfs_stamp,
        "private_key": at.private_key,
        "boot": at.boot,
        "console": at.console,
    } | other
    boot.body(order, report=Silent(), log=log(at, "boot"), templates=files([order.template]), **paths)
