"""config/*.yaml to frozen values. Everything that is wrong is told at once, with file, line and what to write."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tasks.kit.fault import ConfigFault
from tasks.spec.aptsources import host_repositories
from tasks.spec.cloud import LOCAL_ACCOUNT, CloudSpec
from tasks.spec.model import S3_BACKED, AptImage, Image, RpmImage, Site
from tasks.spec.source import AptDistribution, RpmDistribution

Loc = tuple[int | str, ...]
Model = TypeVar("Model", bound=BaseModel)

IMAGES: dict[str, type[Image]] = {
    **dict.fromkeys(get_args(AptDistribution), AptImage),
    **dict.fromkeys(get_args(RpmDistribution), RpmImage),
}
OF_A_FAMILY = {"repositories"} | RpmImage.model_fields.keys() - AptImage.model_fields.keys()
BASE = "extends"  # the key that names another image


@dataclass(frozen=True)
class Written:
    """A YAML file as it was written: its keys, and the line of each place."""

    path: Path
    value: Mapping[str, Any]
    lines: Mapping[Loc, int]


@dataclass(frozen=True)
class Project:
    """All that was configured, resolved: nothing below has a default or reads a file of configuration."""

    site: Site
    cloud: CloudSpec
    images: tuple[Image, ...]

    @property
    def account(self) -> str | None:
        """Whose bundles these are: 12 digits; nothing where nobody has told, nor who is to read them."""
        if self.cloud.kind == "local":
            return LOCAL_ACCOUNT
        return self.cloud.account if self.cloud.ec2_certificate else None

    def image(self, name: str | None) -> Image | None:
        """The image of that name, if a name is given: the configuration was checked for names that are nobody's."""
        return next((image for image in self.images if image.name == name), None)

    @property
    def epoch(self) -> int:
        """Seconds since 1970."""
        return int(self.site.epoch.timestamp())


def load(config: Path = Path("config"), templates: Path = Path("templates")) -> Project:
    """Raises ConfigFault with one line for each thing that is wrong, in any file."""
    wrong: list[str] = []
    site = _file(config / "site.yaml", Site, {}, wrong)
    files = _written(config / "images", wrong)
    made: dict[str, Image | None] = {}
    for name, file in sorted(files.items(), key=lambda each: bool(each[1] and BASE in each[1].value)):
        made[name] = _image(file, files, made, templates, wrong) if file else None
    images = [made[name] for name in files]
    cloud = None
    if site:
        wrong += _unknown(site, list(files), config / "site.yaml")
        wrong += _without_mirror(site, images, config / "images")
        wrong += _unregistrable(site, images, config / "site.yaml")
        cloud = _cloud(config, site, images, wrong)
    if wrong or not site or not cloud:
        things = "1 thing is" if len(wrong) == 1 else f"{len(wrong)} things are"
        raise ConfigFault(f"{things} wrong in the configuration", evidence=wrong, where=str(config))
    return Project(site=site, cloud=cloud, images=tuple(image for image in images if image))


def _written(folder: Path, wrong: list[str]) -> dict[str, Written | None]:
    """Every image's file, by name."""
    wrong += [f"{path}: is not read; call it {path.stem}.yaml" for path in sorted(folder.glob("*.yml"))]
    return {path.stem: _read(path, wrong) for path in sorted(folder.glob("*.yaml"))}


def _image(
    file: Written,
    files: Mapping[str, Written | None],
    made: Mapping[str, Image | None],
    templates: Path,
    wrong: list[str],
) -> Image | None:
    """`made`: the images so far, with all that another may extend; None is one that is wrong, and was told of."""
    path, value = file.path, _inherited(file, files, wrong)
    if value is None:
        return None
    told = value.keys() - file.value.keys() if made.get(file.value.get(BASE, ""), file) is None else ()
    model = IMAGES.get(str(value.get("distro")), Image)
    if model is Image:  # of which family, nobody can say: the rest is judged all the same
        value = {key: each for key, each in value.items() if key not in OF_A_FAMILY}
    whole = Written(path, value, file.lines)
    image = _validated(whole, model, {"name": path.stem}, wrong, told=told)
    if image is None:
        return None
    wrong += [
        f"{path}: scripts: there is no {script.run}"
        for script in image.scripts
        if not Path(script.run).is_file()
    ]
    wrong += [
        f"{path}: files.{where}: there is no {templates / laid.template}"
        for where, laid in image.files.items()
        if laid.template and not (templates / laid.template).is_file()
    ]
    wrong += [
        f"{path}: {key}: there is no {named}"
        for key, named in (
            ("launch.user_data", image.launch.user_data),
            ("ami.uefi_data", image.ami.uefi_data),
        )
        if named and not Path(named).is_file()
    ]
    if image.boot.kernel_of and (image.boot.kernel_of not in files or image.boot.kernel_of == path.stem):
        wrong.append(f"{path}: boot.kernel_of: there is no other image {image.boot.kernel_of}")
    if not isinstance(image, AptImage) or image.repositories:
        return image
    return image.model_copy(update={"repositories": host_repositories(image.distro, image.release)})


def _inherited(
    file: Written, files: Mapping[str, Written | None], wrong: list[str]
) -> Mapping[str, Any] | None:
    """The keys of an image with those of the image that it extends; None when one of the two cannot be read."""
    base = file.value.get(BASE)
    if base is None:
        return file.value
    at = f"{file.path}:{file.lines.get((BASE,), 1)}: {BASE}"
    if not isinstance(base, str):
        wrong.append(f"{at}: {base!r} is not the name of an image; write one, as its file is called")
        return None
    parent = files.get(base)
    if parent is None:
        if base not in files:
            wrong.append(f"{at}: {base!r}: there is no config/images/{base}.yaml")
        return None
    if BASE in parent.value:
        wrong.append(
            f"{at}: {base} extends another itself; extend {parent.value[BASE]}, and say here what differs"
        )
        return None
    own = {key: value for key, value in file.value.items() if key != BASE}
    return {**parent.value, **own}


def _without_mirror(site: Site, images: Iterable[Image | None], folder: Path) -> Iterator[str]:
    """What is built every day and has no place to come from. The others may wait until somebody asks for them."""
    for image in images:
        if isinstance(image, AptImage) and not image.repositories and image.name in site.images:
            yield (
                f"{folder / image.name}.yaml: repositories: this machine has no apt sources for {image.release}; write"
                f" where its packages come from: [{{uri: ..., suites: [{image.release}]}}]"
            )


def _unregistrable(site: Site, images: Iterable[Image | None], path: Path) -> Iterator[str]:
    """What is to become an AMI every day, and cannot."""
    for image in _s3_backed(site, images):
        if image.architecture not in S3_BACKED:
            yield (
                f"{path}: images: {image.name}: S3-backed AMIs start on {' and '.join(S3_BACKED)} alone, not on"
                f" {image.architecture}; write `backing: ebs`, or leave it out: `doit boot:{image.name}` builds and proves it"
            )


def _s3_backed(site: Site, images: Iterable[Image | None]) -> list[Image]:
    """Of those that are made every day."""
    return [each for each in images if each and each.name in site.images and each.ami.backing == "s3"]


def _cloud(
    config: Path, site: Site, images: Iterable[Image | None], wrong: list[str]
) -> CloudSpec | None:
    path = config / "clouds" / f"{site.cloud}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in path.parent.glob("*.yaml")))
        wrong.append(f"{config / 'site.yaml'}: cloud: there is no {path}; known: {known}")
        return None
    cloud = _file(path, CloudSpec, {"name": site.cloud}, wrong)
    if cloud and cloud.kind == "aws":
        # An S3-backed bundle is made before anybody asks AWS, and names its owner and its reader.
        told = {"account": cloud.account, "ec2_certificate": cloud.ec2_certificate}
        in_need = [image.name for image in _s3_backed(site, images)]
        wrong += [
            f"{path}: {key}: is missing; S3-backed images need it: {', '.join(in_need)}"
            for key, value in told.items()
            if in_need and not value
        ]
        if cloud.ec2_certificate and not Path(cloud.ec2_certificate).is_file():
            wrong.append(f"{path}: ec2_certificate: there is no {cloud.ec2_certificate}")
    return cloud


def _unknown(site: Site, names: list[str], path: Path) -> Iterator[str]:
    for name in site.images:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(sorted(names))}"
            yield f"{path}: images: there is no config/images/{name}.yaml{hint}"


def _file(path: Path, model: type[Model], extra: Mapping[str, Any], wrong: list[str]) -> Model | None:
    """One file as one model; what is wrong with it is added to `wrong`."""
    file = _read(path, wrong)
    return _validated(file, model, extra, wrong) if file else None


def _read(path: Path, wrong: list[str]) -> Written | None:
    try:
        value, lines, twice = parse(path.read_text())
    except FileNotFoundError:
        wrong.append(f"{path}: is missing")
        return None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        wrong.append(f"{path}: is not YAML: {' '.join(str(error).split())}")
        return None
    wrong += [f"{path}:{line}: {_dotted(loc)}: is written twice; keep one" for loc, line in twice]
    if not isinstance(value, dict):
        wrong.append(f"{path}: holds no keys")
        return None
    return Written(path, value, lines)


def _validated(
    file: Written,
    model: type[Model],
    extra: Mapping[str, Any],
    wrong: list[str],
    *,
    told: Collection[str] = (),
) -> Model | None:
    """`told`: keys whose faults were told of another file."""
    try:
        return model.model_validate({**file.value, **extra})
    except ValidationError as error:
        for item in error.errors():
            if item["loc"] and item["loc"][0] in told:
                continue
            line = next(
                file.lines[item["loc"][:end]]
                for end in range(len(item["loc"]), -1, -1)
                if item["loc"][:end] in file.lines
            )
            wrong.append(f"{file.path}:{line}: {_told(item, model)}")
        return None


def parse(text: str) -> tuple[Any, dict[Loc, int], list[tuple[Loc, int]]]:
    """A YAML document as a value, the line of each place in it, and the keys that stand twice."""
    loader = yaml.CSafeLoader(text)
    try:
        root = loader.get_single_node()
        lines: dict[Loc, int] = {(): 1}
        twice: list[tuple[Loc, int]] = []
        if root is not None:
            _walk(root, (), lines, twice)
        return (loader.construct_document(root) if root else None), lines, twice
    finally:
        loader.dispose()


def _walk(node: yaml.Node, loc: Loc, lines: dict[Loc, int], twice: list[tuple[Loc, int]]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            at = (*loc, str(key.value))
            if at in lines:
                twice.append((at, key.start_mark.line + 1))
            lines[at] = key.start_mark.line + 1
            _walk(child, at, lines, twice)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            lines[(*loc, index)] = child.start_mark.line + 1
            _walk(child, (*loc, index), lines, twice)


def _dotted(loc: Loc) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")


def _told(item: Any, model: type[BaseModel]) -> str:
    """One error of pydantic's, in the words of somebody who wrote a YAML file."""
    where, kind, given = _dotted(item["loc"]), item["type"], item.get("input")
    if kind == "missing":
        return f"{where}: is missing"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), _keys(model, item["loc"][:-1]), 1)
        return f"{where}: is not a key" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "literal_error":
        return f"{where}: {given!r} is not one of {item['ctx']['expected'].replace(' or ', ', ')}"
    message = item["msg"].removeprefix("Value error, ")
    secret = model.model_config.get("hide_input_in_errors")
    quoted = isinstance(given, str | int) and repr(given) not in message and not secret
    said = f"{given!r}: {message}" if quoted else message
    return f"{where}: {said}" if where else said


def _keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """The keys that are known at a place of a model."""
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        nested = [
            kind
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
            if isinstance(kind, type)
        ]
        model = next((kind for kind in nested if issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
