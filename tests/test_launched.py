"""Keys that are not in the image get in, on the local cloud: by the metadata service, and by cloud-init."""

import json

import pytest

from tasks.cloud.clients import connect
from tasks.kit.ext import Ext
from tasks.kit.fault import ImageFault
from tasks.plan.hybrid import ROOT_AT
from tests import clouds, projects
from tests.projects import Project

IMAGE = "debian-12"


def held(project: Project) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(project.doit("instances", "--json"))
    return found


SCRIPT = """#!/bin/sh
echo "user data ran as $HOME's"
date >> /var/log/user-data
"""


# Bash speaks HTTP itself; the answer's head is cut off.
INSIDE = r"""
ask() {
    exec 3<>/dev/tcp/169.254.169.254/80
    printf '%s\r\n' "$@" 'Host: 169.254.169.254' 'Connection: close' '' >&3
    sed '1,/^\r$/d' <&3
}
token=$(ask 'PUT /latest/api/token HTTP/1.1' 'X-aws-ec2-metadata-token-ttl-seconds: 60')
for each in instance-id ami-id; do
    ask "GET /latest/meta-data/$each HTTP/1.1" "X-aws-ec2-metadata-token: $token"
    echo
done
cat /sys/class/dmi/id/sys_vendor
"""


@pytest.mark.parametrize("way", ["metadata", "cloud-init"])
def test_a_key_that_is_not_in_the_image_gets_in(project, way):
    """As shipped but for its boot mode, booted by it, found clean and launched by it. User data run once."""
    name = f"{IMAGE}-{way}"
    (project.path / "first.sh").write_text(SCRIPT)
    firmware = {"metadata": "legacy-bios", "cloud-init": "uefi"}[way]
    project.configure(
        f"images/{name}.yaml",
        launch={"user_data": "first.sh", "timeout": 600},
        ami={"boot_mode": firmware},
    )
    project.doit(f"launch:{name}", timeout=900)
    with Ext.open(project.build / name / f"{name}.img", ROOT_AT) as image, pytest.raises(ImageFault):
        image.read("/root/.ssh/authorized_keys")
    looked = (
        "systemctl is-system-running --wait; wc -l < /var/log/user-data; cat /root/.ssh/authorized_keys"
    )
    before = asked(project, name, looked)
    public = (project.build / f"keys/{name}/ssh_key.pub").read_text().split()
    assert before.split()[:2] == ["running", "1"]
    assert public[1] in before
    # cloud-init sets no HOME, and runs it when one can log in already.
    whose = "/root" if way == "metadata" else ""
    assert project.doit(f"console:{name}").count(f"user data ran as {whose}'s") == 1
    if way == "metadata":
        (one,) = (each for each in held(project) if each["image"] == name)
        assert asked(project, name, INSIDE).splitlines() == [one["id"], one["ami"], "Amazon EC2"]
    project.doit(f"terminate:{name}", "--yes")
    ec2 = connect(clouds.LOCAL, project.build / "cloud").ec2()
    assert ec2.describe_key_pairs()["KeyPairs"] == [], (
        "the key that was imported went with its last instance"
    )


def asked(project: Project, name: str, command: str) -> str:
    said = project.doit(f"ssh:{name}", f"--command={command}", timeout=400)
    return said.partition("SKIPPED")[0].strip()


def test_before_there_is_anything_the_tasks_say_what_to_type(tmp_path):
    """And make no local cloud to find that out."""
    project = projects.copy(tmp_path / "project")
    assert "no instances of ours in local" in project.doit("instances")
    assert f"doit launch:{IMAGE}" in project.doit(f"ssh:{IMAGE}", "--command=true", status=1)
    assert f"doit launch:{IMAGE}" in project.doit(f"console:{IMAGE}", status=1)
    assert not (project.build / "cloud").exists()
