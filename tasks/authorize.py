"""Open the ports that the cloud's configuration names, to those whom it names. What is open already stays as it is.

In:    `authorize:` of config/clouds/<name>.yaml
Out:   nothing that stays here
Needs: ec2:DescribeSecurityGroups, AuthorizeSecurityGroupIngress
"""

import sys
from pathlib import Path

from tasks.cloud import groups
from tasks.cloud.clients import connect
from tasks.spec.cloud import CloudSpec, Rule
from tasks.spec.part import Part

EXAMPLE = "authorize: [{group: default, protocol: tcp, ports: 22, cidr: 192.0.2.7/32}]"


class Order(Part):
    cloud: CloudSpec
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, cloud: CloudSpec) -> "Order":
        return cls(cloud=cloud, rules=cloud.authorize)


def body(order: Order, *, home: Path) -> None:
    if not order.rules:
        sys.stdout.write(
            f"nothing is configured to be opened in {order.cloud.name}; write which ports, and to whom, into"
            f" config/clouds/{order.cloud.name}.yaml:\n    {EXAMPLE}\n"
        )
        return
    for rule, new in groups.opened(connect(order.cloud, home).ec2(), order.rules):
        sys.stdout.write(f"{'opened' if new else 'already open'}: {groups.called(rule)}\n")
