"""The one factory of clients. boto3 costs 0.3 s, so bodies import it."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tasks.cloud import local
from tasks.cloud.refusals import asking
from tasks.kit.fault import CloudFault
from tasks.spec.cloud import CloudSpec, plain_http_leaves_here

if TYPE_CHECKING:
    from boto3 import Session
    from botocore.client import BaseClient
    from botocore.config import Config
    from botocore.loaders import Loader
    from botocore.session import Session as Core
    from mypy_boto3_ebs import EBSClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_s3 import S3Client

AGENT = "doit-ami"
WORKERS = 4  # requests at once; a part is 10 MiB, so this bounds memory too
TRIES = 5  # botocore's standard mode: pauses double from 1 to 20 s, throttles and server faults only
CONNECT, READ = 10, 60  # seconds

Client = TypeVar("Client", bound="BaseClient")


@dataclass(frozen=True)
class Cloud:
    """A cloud we are connected to: whose account, where, and clients for it."""

    name: str
    account: str
    region: str
    id: str  # of the local cloud; "" for AWS
    session: "Session"
    config: "Config"
    endpoint_url: str | None

    def s3(self) -> "S3Client":
        client: S3Client = self.session.client("s3", config=self.config, endpoint_url=self.endpoint_url)
        return secured(client)

    def ec2(self) -> "EC2Client":
        client: EC2Client = self.session.client(
            "ec2", config=self.config, endpoint_url=self.endpoint_url
        )
        return secured(client)

    def iam(self) -> Any:
        """Whose stubs are not worth a dependency: one module asks five questions."""
        return secured(self.session.client("iam", config=self.config, endpoint_url=self.endpoint_url))

    def ebs(self, more: "Config | None" = None) -> "EBSClient":
        """`more`: settings that stand before ours."""
        config = self.config.merge(more) if more else self.config
        client: EBSClient = self.session.client("ebs", config=config, endpoint_url=self.endpoint_url)
        return secured(client)

    def proxy_to(self, url: str) -> str:
        """The proxy that botocore would use; none where it is told not to."""
        from botocore.utils import get_environ_proxies

        config: Any = self.config  # whose stubs know no options
        proxies = get_environ_proxies(url) if config.proxies is None else config.proxies
        return str(proxies.get(urlsplit(url).scheme, ""))

    def certificates(self) -> str:
        """Whose certificates botocore would believe: a file."""
        from botocore.httpsession import get_cert_path

        core = self.session._session  # noqa: SLF001 - boto3 has no other word for it
        told = core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        return str(told or get_cert_path(verify=True))


def connect(spec: CloudSpec, home: Path) -> Cloud:
    """The cloud that `spec` means; the local one is started if need be and lives in `home`."""
    return here(spec, home) if spec.kind == "local" else there(spec)


def here(spec: CloudSpec, home: Path) -> Cloud:
    """The local cloud, whatever the user's AWS settings say: they are meant for AWS."""
    from boto3 import Session

    found = local.endpoint(home)
    core = core_session(
        {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
    )
    session = Session("local", "local", botocore_session=core, region_name=spec.region or found.region)
    config = settings(path_style=True, proxies={}, use_fips_endpoint=False, use_dualstack_endpoint=False)
    return Cloud(spec.name, found.account, session.region_name, found.id, session, config, found.url)


def there(spec: CloudSpec) -> Cloud:
    """AWS, or what speaks its language; asks STS whose the credentials are."""
    from boto3 import Session

    where = f"config/clouds/{spec.name}.yaml"
    region = spec.region or os.environ.get(
        "AWS_REGION"
    )  # botocore itself knows AWS_DEFAULT_REGION alone
    with asking("find the AWS settings", where=where):
        session = Session(botocore_session=core_session(), profile_name=spec.profile, region_name=region)
    if not session.region_name:
        raise CloudFault(
            "no region is set", where=where, hint="set AWS_REGION, or write `region:` there"
        )
    config = settings(path_style=spec.endpoint_url is not None)
    with asking(
        "learn whose the credentials are", where=f"STS in {session.region_name}, asked as {where} says"
    ):
        sts = secured(session.client("sts", config=config, endpoint_url=spec.endpoint_url))
        account = sts.get_caller_identity()["Account"]
    if spec.account not in (None, account):
        raise CloudFault(
            f"the credentials are for account {account}, but {spec.name} is account {spec.account}",
            where=where,
            hint="choose the right ones with AWS_PROFILE, or correct `account:` there",
        )
    return Cloud(spec.name, account, session.region_name, "", session, config, spec.endpoint_url)


def core_session(variables: dict[str, Any] | None = None) -> "Core":
    from botocore.session import Session as Core

    core = Core(variables)
    core.register_component("data_loader", models())
    return core


@cache
def models() -> "Loader":
    """The descriptions of AWS's services, read once for all sessions: 0.15 s for EC2 alone."""
    from botocore.loaders import create_loader

    return create_loader()


def settings(*, path_style: bool, **more: Any) -> "Config":
    from botocore.config import Config

    return Config(
        retries={"mode": "standard", "total_max_attempts": TRIES},
        connect_timeout=CONNECT,
        read_timeout=READ,
        max_pool_connections=WORKERS,
        user_agent_extra=AGENT,
        s3={"addressing_style": "path" if path_style else "auto"},
        **more,
    )


def secured(client: Client) -> Client:
    """The client, unless it would send in the clear what leaves this machine (AWS_ENDPOINT_URL may say so)."""
    url = client.meta.endpoint_url
    if plain_http_leaves_here(url):
        raise CloudFault(
            f"{url} is not encrypted",
            where="the endpoint's address",
            hint="give one that begins with https://",
        )
    return client
