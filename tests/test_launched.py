"""From an AMI to a shell and back, as its users type it, on the local cloud: the machine boots what was uploaded. Killed on
the way, it is gone on with.
"""

import json
import os
import signal
import time

import pytest

from tasks.cloud.clients import connect
from tasks.kit.ext import Ext
from tasks.kit.fault import ImageFault
from tests import clouds, projects
from tests.projects import Project

IMAGE = "debian-12"


@pytest.fixture
def project(built, tmp_path):
    """The built project, and its local cloud, which is another one from now on."""
    made = projects.clone(built, tmp_path / "project")
    yield made
    made.doit("local_stop")


def held(project: Project) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(project.doit("instances", "--json"))
    return found


def killed_when(project: Project, path: str, *args: str) -> None:
    """doit, killed when a file of its own appears."""
    process = project.start(*args)
    deadline = time.monotonic() + 300
    while not (project.build / IMAGE / "local" / path).exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_launched_logged_in_to_and_ended(project):
    """One machine, although the first run was killed while it started it; its shell, its console; and nothing is left."""
    script = "#!/bin/sh\necho {{ image }} in {{ region }} > /root/told\n"
    (project.path / "first.sh").write_text(script)
    project.configure(f"images/{IMAGE}.yaml", launch={"user_data": "first.sh", "timeout": 600})
    killed_when(project, "launching.json", f"launch:{IMAGE}")
    said = project.doit(
        f"launch:{IMAGE}", f"ssh:{IMAGE}", "--command=cat /etc/motd /root/told", timeout=900
    )
    assert "Debian 12, built by doit-ami" in said
    assert f"{IMAGE} in us-east-1" in said
    (one,) = held(project)
    assert (one["image"], one["state"]) == (IMAGE, "running")
    assert f"{one['id']} is up at 127.0.0.1 port {one['address'].partition(':')[2]}" in said
    assert "SKIPPED launch:debian-12" in project.doit(f"launch:{IMAGE}")
    assert "BEGIN SSH HOST KEY KEYS" in project.doit(f"console:{IMAGE}")
    assert "already open: tcp 22 of default to 127.0.0.1/32" in project.doit("authorize")
    assert "there is no terminal" in project.doit(f"ssh:{IMAGE}", status=1)
    project.doit(f"terminate:{IMAGE}", "--yes")
    assert f"doit launch:{IMAGE}" in project.doit(f"ssh:{IMAGE}", "--command=true", status=1)
    assert not (project.build / IMAGE / "local" / "instance.json").exists()
    assert [each["state"] for each in held(project)] == ["terminated"]


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
    """As shipped, booted, found clean and launched. User data run once, and not again when the instance is rebooted."""
    name = f"{IMAGE}-{way}"
    (project.path / "first.sh").write_text(SCRIPT)
    project.configure(f"images/{name}.yaml", launch={"user_data": "first.sh", "timeout": 600})
    project.doit(f"launch:{name}", timeout=900)
    with Ext.open(project.build / name / f"{name}.img") as image, pytest.raises(ImageFault):
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
        rebooted(project, name)
        assert asked(project, name, looked) == before
    project.doit(f"terminate:{name}", "--yes")
    ec2 = connect(clouds.LOCAL, project.build / "cloud").ec2()
    assert ec2.describe_key_pairs()["KeyPairs"] == [], (
        "the key that was imported went with its last instance"
    )


def asked(project: Project, name: str, command: str) -> str:
    said = project.doit(f"ssh:{name}", f"--command={command}", timeout=400)
    return said.partition("SKIPPED")[0].strip()


def rebooted(project: Project, name: str) -> None:
    """By EC2's own operation; back when another boot answers."""
    (one,) = (each for each in held(project) if each["image"] == name and each["state"] == "running")
    first = asked(project, name, "cat /proc/sys/kernel/random/boot_id")
    connect(clouds.LOCAL, project.build / "cloud").ec2().reboot_instances(InstanceIds=[one["id"]])
    deadline = time.monotonic() + 300
    while True:
        process = project.start(f"ssh:{name}", "--command=cat /proc/sys/kernel/random/boot_id")
        said, _ = process.communicate(timeout=200)
        if process.returncode == 0 and said.strip() != first:
            return
        assert time.monotonic() < deadline, said
        time.sleep(1)


def test_before_there_is_anything_the_tasks_say_what_to_type(tmp_path):
    """And make no local cloud to find that out."""
    project = projects.copy(tmp_path / "project")
    assert "no instances of ours in local" in project.doit("instances")
    assert f"doit launch:{IMAGE}" in project.doit(f"ssh:{IMAGE}", "--command=true", status=1)
    assert f"doit launch:{IMAGE}" in project.doit(f"console:{IMAGE}", status=1)
    assert not (project.build / "cloud").exists()
