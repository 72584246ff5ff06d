"""→ config/schema/*.json: the keys of the configuration, for editors that complete and check YAML.

In:    the models of tasks/spec
Out:   one JSON schema for each kind of file
Needs: nothing
"""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from tasks.kit import files
from tasks.kit.report import Report
from tasks.spec.cloud import CloudSpec
from tasks.spec.load import BASE
from tasks.spec.model import AptImage, RpmImage, Site
from tasks.spec.part import Part

RECIPE = 1
# What a file of each kind may be one of.
MODELS: dict[str, tuple[type[Part], ...]] = {
    "site": (Site,),
    "image": (AptImage, RpmImage),
    "cloud": (CloudSpec,),
}
EXTENDS = {
    "description": "another image of this folder: its keys are this one's, but for those that are written here",
    "type": "string",
}


class Order(Part):
    """All this stage may know."""

    model: str


def body(order: Order, *, report: Report, schema: Path) -> None:
    report.said(f"describing {order.model}")
    files.write(schema, text(order.model))


def text(name: str) -> str:
    """One schema, as it lies in config/schema/."""
    models = MODELS[name]
    described = (
        models[0].model_json_schema()
        if len(models) == 1
        else models_json_schema([(model, "validation") for model in models])[1]
    )
    if len(models) > 1:
        described["anyOf"] = [{"$ref": f"#/$defs/{model.__name__}"} for model in models]
    for each in (described, *described.get("$defs", {}).values()):
        if each.get("title") in {model.__name__ for model in models}:
            _as_written(each, base=name == "image")
    return json.dumps(described, indent=2) + "\n"


def _as_written(described: dict[str, Any], *, base: bool) -> None:
    """A model as its file holds it: the file's own name is no key, and what extends another needs none."""
    described["properties"].pop("name", None)
    required = [key for key in described["required"] if key in described["properties"]]
    if base:
        described["properties"] = {BASE: EXTENDS, **described["properties"]}
        described["anyOf"] = [{"required": [BASE]}, {"required": required}]
        del described["required"]
    else:
        described["required"] = required
