"""One cloud, as config/clouds/<name>.yaml describes it.

No secret is ever a key here: credentials come by AWS's own chain (AWS_PROFILE, the environment, an instance's role).
"""

import re
from ipaddress import AddressValueError, IPv4Address, ip_network
from string import Formatter
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from tasks.spec.part import Part

LOCAL_ACCOUNT = "123456789012"  # moto's own, and the account of AWS's documentation
LOCAL_REGION = "us-east-1"
BUCKET = "doit-ami-{account}-{region}"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

# docs.aws.amazon.com, "General purpose bucket naming rules"
TAKEN_HEADS = ("xn--", "sthree-", "amzn-s3-demo-")
TAKEN_TAILS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")

# RegisterImage's own words: 3-128 of these
AMI_NAME = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")


def bucket_trouble(name: str) -> str:
    """What S3 would say against a bucket's name, or nothing."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        return "3 to 63 of a-z, 0-9, '.' and '-', with a letter or a digit at both ends"
    if ".." in name:
        return "no two dots in a row"
    if name.startswith(TAKEN_HEADS) or name.endswith(TAKEN_TAILS):
        return f"S3 keeps these beginnings and ends for itself: {', '.join(TAKEN_HEADS + TAKEN_TAILS)}"
    try:
        IPv4Address(name)
    except AddressValueError:
        return ""
    return "not an IP address"


def filled(template: str, **values: str) -> str:
    """A template's text. Raises ValueError when it names what there is not."""
    named = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    if strange := sorted(named - set(values)):
        known = " and ".join(f"{{{name}}}" for name in values)
        raise ValueError(f"{template!r}: there is no {{{strange[0]}}}; write {known} or plain text")
    return template.format(**values)


def _bucket(template: str) -> str:
    name = filled(template, account=LOCAL_ACCOUNT, region="ap-southeast-1")
    if trouble := bucket_trouble(name):
        raise ValueError(f"{template!r} is no name for a bucket: {trouble}")
    return template


def _prefix(prefix: str) -> str:
    if prefix and not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", prefix):
        raise ValueError(
            f"{prefix!r}: write words of A-Z, a-z, 0-9, '.', '_', '-', with '/' between them only"
        )
    if any(word in (".", "..") for word in prefix.split("/")):
        raise ValueError(f"{prefix!r}: '.' and '..' are no names")
    return prefix


def plain_http_leaves_here(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme != "https" and parts.hostname not in LOOPBACK


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address; write https://HOST")
    if parts.username or parts.password:
        raise ValueError(
            "no secret belongs here; write https://HOST and put credentials where AWS_PROFILE finds them"
        )
    if plain_http_leaves_here(url):
        raise ValueError(
            f"{parts.scheme}://{parts.netloc} would send the image in the clear; write https://{parts.netloc}"
        )
    return url


def _ami_name(template: str) -> str:
    name = filled(template, image="image", date="20260101", digest="0" * 12)
    if not AMI_NAME.fullmatch(name):
        raise ValueError(
            f"{template!r} is no name for an AMI: write 3 to 128 of A-Z, a-z, 0-9 and ()[] ./-'@_"
        )
    return template


AmiName = Annotated[str, AfterValidator(_ami_name)]
"""The template of an AMI's name. {date} is the day the image was made, {digest} tells one content from another."""


def _ports(ports: object) -> str:
    text = str(ports)
    if not re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?", text):
        raise ValueError(f"{ports!r} is no port; write a number, or two of them: '8000-8010'")
    first, _, last = text.partition("-")
    if not int(first) <= int(last or first) <= 65535:  # noqa: PLR2004 - sixteen bits
        raise ValueError(f"{ports!r}: ports go from 0 to 65535, the lower first")
    return text


def _cidr(text: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is no network; write 192.0.2.0/24, or one host: 192.0.2.7/32"
        ) from None
    if str(network) != text:
        raise ValueError(f"{text!r} is not written as EC2 keeps it; write {network}")
    return text


class Rule(Part):
    """Who may come in, and where. There is no default for who: to open a port is a decision."""

    group: str = Field(
        "default", pattern=r"^[ -~]{1,255}$", description="a name in the default VPC, or sg-..."
    )
    protocol: Literal["tcp", "udp"] = "tcp"
    ports: Annotated[
        str, BeforeValidator(_ports), Field(json_schema_extra={"type": ["integer", "string"]})
    ]
    cidr: Annotated[str, AfterValidator(_cidr)] = Field(
        description="the network that may come in: 192.0.2.0/24, or one host: 192.0.2.7/32"
    )

    @property
    def span(self) -> tuple[int, int]:
        """The first port and the last."""
        first, _, last = self.ports.partition("-")
        return int(first), int(last or first)

    def __str__(self) -> str:
        return f"{self.protocol} {self.ports} of {self.group} to {self.cidr}"


class Ebs(Part):
    """How snapshots come to be there."""

    road: Literal["direct", "import"] = Field(
        "direct",
        description="direct: block by block, by EBS's direct APIs; import: by S3 and ImportSnapshot, where those are denied",
    )
    encrypted: bool = Field(
        False,
        description="with `kms_key`, or the account's default one; an account that encrypts by default does so anyway",
    )
    kms_key: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$",
        description="the ARN of a key of that region; with `encrypted: true`",
    )
    import_role: str = Field(
        "vmimport", pattern=r"^[\w+=,.@-]{1,64}$", description="what ImportSnapshot reads the bucket as"
    )

    @model_validator(mode="after")
    def _key_is_used(self) -> Self:
        if self.kms_key and not self.encrypted:
            raise ValueError("kms_key: is for encrypted snapshots; write `encrypted: true`")
        return self


class CloudSpec(Part):
    model_config = ConfigDict(
        hide_input_in_errors=True
    )  # what was pasted here by mistake may be a secret

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="the file's own name")
    kind: Literal["aws", "local"]
    account: str | None = Field(
        None,
        pattern=r"^[0-9]{12}$",
        description="refuse credentials of any other; absent: whatever they are for",
    )
    region: str | None = Field(
        None,
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]+$",
        description="absent: AWS_REGION, then the profile's",
    )
    profile: str | None = Field(
        None, min_length=1, description="absent: AWS_PROFILE, then the default one"
    )
    endpoint_url: Annotated[str, AfterValidator(_endpoint)] | None = Field(
        None, description="what speaks AWS's language elsewhere"
    )
    bucket: Annotated[str, AfterValidator(_bucket)] | None = Field(None, description=f"absent: {BUCKET}")
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "", description="before every key in the bucket"
    )
    ec2_certificate: str | None = Field(None, min_length=1, description="EC2's public certificate (PEM)")
    ebs: Ebs = Ebs()
    # Left out of every digest: an upload is not stale because a port was opened. Who opens ports has it in its own order.
    authorize: tuple[Rule, ...] = Field(
        (), exclude=True, description="ports that `doit authorize` opens, and to whom"
    )

    @model_validator(mode="after")
    def _the_local_cloud_is_itself(self) -> Self:
        if self.kind == "local":
            for key in ("profile", "endpoint_url"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f"{key}: the local cloud has its own; delete the key, or write `kind: aws`"
                    )
            if self.account not in (None, LOCAL_ACCOUNT):
                raise ValueError(
                    f"account: the local cloud's is {LOCAL_ACCOUNT}; delete the key, or write `kind: aws`"
                )
        return self

    def bucket_in(self, account: str, region: str) -> str:
        return filled(self.bucket or BUCKET, account=account, region=region)
