"""What an instance hears of itself from the metadata service, as its row has it."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime

from tasks.cloud.local.machines.states import tags_of
from tasks.cloud.local.store import Thing
from tasks.kit.imds import Metadata
from tasks.plan.machine import MAC

LAYOUT = "%Y-%m-%dT%H:%M:%SZ"


def metadata(thing: Thing, account: str, region: str, devices: Mapping[str, str]) -> Metadata:
    local, options = thing["local"], thing["MetadataOptions"]
    shown = tags_of(thing) if options["InstanceMetadataTags"] == "enabled" else {}
    return Metadata(
        instance_id=thing["InstanceId"],
        ami_id=thing["ImageId"],
        instance_type=thing["InstanceType"],
        architecture=thing["Architecture"],
        region=region,
        zone=thing["Placement"]["AvailabilityZone"],
        account=account,
        reservation_id=local["reservation"],
        address=thing["PrivateIpAddress"],
        mac=mac(thing),
        launched=datetime.fromisoformat(thing["LaunchTime"]).astimezone(UTC).strftime(LAYOUT),
        launch_index=thing["AmiLaunchIndex"],
        manifest_path=local["manifest"] or "(unknown)",
        public_address=thing.get("PublicIpAddress", ""),
        key_name=thing.get("KeyName", ""),
        public_key=local["public_key"],
        security_groups=tuple(group["GroupName"] for group in thing["SecurityGroups"]),
        block_devices=devices,
        kernel_id=thing.get("KernelId", ""),
        ramdisk_id=thing.get("RamdiskId", ""),
        product_codes=tuple(each["ProductCodeId"] for each in thing.get("ProductCodes", ())),
        tags={key: value for key, value in shown.items() if not key.startswith("aws:")},
        user_data=base64.b64decode(local["user_data"]) if local["user_data"] else None,
        enabled=options["HttpEndpoint"] == "enabled",
        tokens="required" if options["HttpTokens"] == "required" else "optional",
    )


def mac(thing: Thing) -> str:
    interfaces = thing["NetworkInterfaces"]
    return str(interfaces[0]["MacAddress"]) if interfaces else MAC
