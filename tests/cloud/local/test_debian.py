"""The real Debian on the local cloud: from the uploaded bundle to a shell in it, and back."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.kit.reach import greets
from tasks.plan import login
from tasks.spec import names
from tests.cloud.local.test_machines import qemus
from tests.localcloud import LocalCloud
from tests.projects import Project

IMAGE, BUCKET = "debian-12", "debian"
PATIENCE = 400.0  # seconds to the prompt: an emulated processor on a busy machine
# Bash speaks HTTP itself; the answer's head is cut off.
INSIDE = r"""
ask() {
    exec 3<>/dev/tcp/169.254.169.254/80
    printf '%s\r\n' "$@" 'Host: 169.254.169.254' 'Connection: close' '' >&3
    sed '1,/^\r$/d' <&3
}
token=$(ask 'PUT /latest/api/token HTTP/1.1' 'X-aws-ec2-metadata-token-ttl-seconds: 60')
for each in instance-id ami-id local-ipv4 placement/availability-zone; do
    ask "GET /latest/meta-data/$each HTTP/1.1" "X-aws-ec2-metadata-token: $token"
    echo
done
ask 'GET /latest/user-data HTTP/1.1' "X-aws-ec2-metadata-token: $token"
echo
cat /sys/class/dmi/id/sys_vendor
"""


def wait(happened: Callable[[], object], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, otherwise
        time.sleep(1)


def uploaded(cloud: LocalCloud, built: Project) -> str:
    """What the project built, as an AMI of this cloud."""
    s3, folder = cloud.client("s3"), built.build / IMAGE / "local/bundle"
    key = names.ec2_key(cloud.home)
    key.parent.mkdir()
    shutil.copyfile(names.ec2_key(names.home_of(built.build)), key)
    s3.create_bucket(Bucket=BUCKET, ObjectOwnership="BucketOwnerPreferred")
    for path in folder.iterdir():
        with path.open("rb") as file:
            s3.put_object(Bucket=BUCKET, Key=path.name, Body=file, ACL="aws-exec-read")
    location = f"{BUCKET}/{IMAGE}.img.manifest.xml"
    asked = {"Name": IMAGE, "ImageLocation": location, "ImdsSupport": "v2.0"}
    return str(cloud.client("ec2").register_image(**asked)["ImageId"])


def ssh(built: Project, folder: Path, port: int, host_keys: tuple[str, ...]) -> list[str]:
    """Believes in the host keys that the console showed, and in no others."""
    (folder / "known_hosts").write_text("".join(f"instance {key}\n" for key in host_keys))
    options = {
        "BatchMode": "yes",
        "HostKeyAlias": "instance",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(folder / "known_hosts"),
    }
    key = shutil.copy2(built.build / "keys" / IMAGE / "ssh_key", folder / "key")
    settings = [f"-o{name}={value}" for name, value in options.items()]
    return ["ssh", "-F", "none", "-i", str(key), *settings, "-p", str(port), "root@127.0.0.1", "bash -s"]


def test_one_logs_in_to_the_very_debian_that_was_uploaded(
    localcloud: LocalCloud, built: Project, tmp_path: Path
) -> None:
    """By the port that the group opens, with the host keys of the console; it knows who it is, and dies when it is told to."""
    ami, ec2 = uploaded(localcloud, built), localcloud.client("ec2")
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "127.0.0.1/32"}
    ec2.authorize_security_group_ingress(GroupName="default", **rule)
    asked = {"ImageId": ami, "MinCount": 1, "MaxCount": 1, "UserData": "told to itself"}
    identity = ec2.run_instances(**asked)["Instances"][0]["InstanceId"]

    def told() -> Any:
        return ec2.describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0]

    def console() -> str:
        return str(ec2.get_console_output(InstanceId=identity).get("Output", ""))

    wait(lambda: told()["State"]["Name"] == "running", "it does not run")
    assert [tag["Key"] for tag in told()["Tags"]] == ["aws:local:tcp/22"]
    port = int(told()["Tags"][0]["Value"].rpartition(":")[2])
    wait(lambda: greets("127.0.0.1", port), f"nobody answers: {console()[-2000:]}")
    said = subprocess.run(
        ssh(built, tmp_path, port, login.shown(console())),
        input=INSIDE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    private, zone = told()["PrivateIpAddress"], told()["Placement"]["AvailabilityZone"]
    assert said.splitlines() == [identity, ami, private, zone, "told to itself", "Amazon EC2"]
    (status,) = ec2.describe_instance_status(InstanceIds=[identity])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "ok"
    ec2.revoke_security_group_ingress(GroupName="default", **rule)
    wait(lambda: not told()["Tags"], "the port stays open")
    assert not greets("127.0.0.1", port)
    ec2.terminate_instances(InstanceIds=[identity])
    wait(lambda: told()["State"]["Name"] == "terminated", "it does not end")
    assert qemus(localcloud.home) == []
    assert login.shown(console())
