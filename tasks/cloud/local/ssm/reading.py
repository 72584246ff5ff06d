"""Parameters got and listed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tasks.cloud.local.call import Answer, Asked, Call
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.ssm.service import SERVICE, invalid, paged
from tasks.cloud.local.ssm.writing import KIND, absent
from tasks.cloud.local.store import Thing

MOST_NAMES = 10  # of a request
PAGE, PAGE_BY_PATH = 50, 10  # parameters of a page, at most
ABOUT = (
    "Name", "Type", "LastModifiedDate", "LastModifiedUser", "Description", "AllowedPattern", "Version", "Tier", "DataType",
)  # fmt: skip
Test = Callable[[str, str], bool]

EQUALS: Mapping[str, Test] = {"Equals": lambda held, asked: held == asked}
TEXTS: Mapping[str, Test] = {
    **EQUALS,
    "BeginsWith": lambda held, asked: held.startswith(asked),
    "Contains": lambda held, asked: asked in held,
}
PATHS: Mapping[str, Test] = {
    "OneLevel": lambda held, asked: below(held, asked, recursive=False),
    "Recursive": lambda held, asked: below(held, asked, recursive=True),
}
# By a filter's key: what a parameter has of it, and the options; the first is the usual.
FILTERS: Mapping[str, tuple[str, Mapping[str, Test]]] = {
    "Name": ("Name", TEXTS),
    "Type": ("Type", EQUALS),
    "Tier": ("Tier", EQUALS),
    "DataType": ("DataType", EQUALS),
    "Path": ("Name", PATHS),
}


@SERVICE.operation
def get_parameter(call: Call) -> Answer:
    call.get("WithDecryption")  # for what is encrypted: nothing here is
    return {"Parameter": _got(call, call.asked["Name"])}


@SERVICE.operation
def get_parameters(call: Call) -> Answer:
    call.get("WithDecryption")
    names = list(dict.fromkeys(call.asked["Names"]))
    if len(names) > MOST_NAMES:
        raise invalid(f"Value at 'names' failed to satisfy constraint: at most {MOST_NAMES} names.")
    found, strange = [], []
    for name in names:
        try:
            found.append(_got(call, name))
        except Refusal:
            strange.append(name)
    return {"Parameters": found, "InvalidParameters": strange}


def _got(call: Call, asked: str) -> dict[str, Any]:
    """`asked`: its name or its ARN, and perhaps a version."""
    name, colon, version = _plain(call, asked.strip()).partition(":")
    held = call.things(KIND).get(name)
    if held is None:
        raise absent(name)
    if not colon:
        return _shown(call, held["Versions"][-1])
    for each in held["Versions"]:
        if str(each["Version"]) == version:
            return _shown(call, each) | {"Selector": f":{version}"}
    raise Refusal(
        "ParameterVersionNotFound", f"Systems Manager could not find version {version} of {name}."
    )


def _plain(call: Call, asked: str) -> str:
    """Of an ARN, the name: `parameter/a` may be `/a` as well as `a`."""
    if not asked.startswith("arn:"):
        return asked
    prefix = f"arn:aws:ssm:{call.region}:{call.account}:parameter"
    name = asked.removeprefix(prefix)
    if name == asked:
        raise absent(asked)
    bare = name.removeprefix("/")
    return bare if call.things(KIND).get(bare.partition(":")[0]) else name


def _shown(call: Call, version: Thing) -> dict[str, Any]:
    names = ("Name", "Type", "Value", "Version", "LastModifiedDate", "DataType")
    return {name: version[name] for name in names} | {"ARN": _arn(call, version["Name"])}


def _arn(call: Call, name: str) -> str:
    return f"arn:aws:ssm:{call.region}:{call.account}:parameter/{name.removeprefix('/')}"


@SERVICE.operation
def get_parameters_by_path(call: Call) -> Answer:
    call.get("WithDecryption")
    path, recursive = call.asked["Path"], call.get("Recursive", False)
    if not path.startswith("/") or "//" in path:
        raise invalid(
            'The parameter path must begin with a forward slash "/", and have one between its levels.'
        )
    found = [each for each in _listed(call, ("Type",)) if below(each["Name"], path, recursive=recursive)]
    return paged(call, [_shown(call, each) for each in found], "Parameters", PAGE_BY_PATH)


def below(name: str, path: str, *, recursive: bool) -> bool:
    start = path.rstrip("/") + "/"
    return name.startswith(start) and (recursive or "/" not in name.removeprefix(start))


@SERVICE.operation
def describe_parameters(call: Call) -> Answer:
    found = [_about(call, each) for each in _listed(call, tuple(FILTERS))]
    return paged(call, found, "Parameters", PAGE)


def _about(call: Call, version: Thing) -> dict[str, Any]:
    held = {name: version[name] for name in ABOUT if version[name] is not None}
    return held | {"ARN": _arn(call, version["Name"]), "Policies": []}


@SERVICE.operation
def get_parameter_history(call: Call) -> Answer:
    call.get("WithDecryption")
    name = _plain(call, call.asked["Name"].strip())
    held = call.things(KIND).get(name)
    if held is None:
        raise absent(name)
    found = [
        {key: each[key] for key in (*ABOUT, "Value") if each[key] is not None}
        | {"Labels": [], "Policies": []}
        for each in held["Versions"]
    ]
    return paged(call, found, "Parameters", PAGE)


def _listed(call: Call, known: Iterable[str]) -> list[Thing]:
    """The newest version of each, by name. `known`: filters."""
    tests = [_test(each, known) for each in call.get("ParameterFilters", ())]
    held = [each for each in call.things(KIND).listed() if all(test(each) for test in tests)]
    return sorted((each["Versions"][-1] for each in held), key=lambda each: str(each["Name"]))


def _test(asked: Asked, known: Iterable[str]) -> Callable[[Thing], bool]:
    key, values = asked["Key"], asked.get("Values") or ()
    tag = key.removeprefix("tag:") if key.startswith("tag:") and "Name" in known else None
    if tag is None and key not in known:
        raise Refusal(
            "InvalidFilterKey",
            f"The following filter key is not valid: {key}. Valid filter keys include: [{', '.join(known)}].",
        )
    member, options = ("", EQUALS) if tag else FILTERS[key]
    option = asked.get("Option") or next(iter(options))
    if option not in options:
        raise Refusal(
            "InvalidFilterOption",
            f"The following filter option is not valid: {option}. Valid options include: [{', '.join(options)}].",
        )
    if not values and not tag:
        raise Refusal(
            "InvalidFilterValue", f"The following filter values are missing for filter key {key}."
        )
    if tag:
        return lambda held: tag in held["Tags"] and (not values or held["Tags"][tag] in values)
    return lambda held: any(options[option](held["Versions"][-1][member], each) for each in values)
