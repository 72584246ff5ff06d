"""→ config/schema/*.json: the keys of the configuration, for editors that complete and check YAML.

In:    the models of tasks/spec
Out:   one JSON schema for each kind of file
Needs: nothing
"""

import json
from pathlib import Path

from tasks.kit import files
from tasks.kit.report import Report
from tasks.spec.cloud import CloudSpec
from tasks.spec.model import Image, Site
from tasks.spec.part import Part

RECIPE = 1
MODELS: dict[str, type[Part]] = {"site": Site, "image": Image, "cloud": CloudSpec}


class Order(Part):
    """All this stage may know."""

    model: str


def body(order: Order, *, report: Report, schema: Path) -> None:
    report.said(f"describing {order.model}")
    files.write(schema, text(order.model))


def text(name: str) -> str:
    """One schema, as it lies in config/schema/."""
    described = MODELS[name].model_json_schema()
    described["properties"].pop("name", None)  # it is the file's own
    described["required"] = [
        key for key in described.get("required", ()) if key in described["properties"]
    ]
    return json.dumps(described, indent=2) + "\n"
