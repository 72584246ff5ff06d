"""Requests in, replies out, in AWS's protocols, by the descriptions of its services that botocore brings.

What these say is what a client believes: names, places, types, limits. Nothing here knows what an operation means.
"""

from functools import cache

from botocore.loaders import create_loader
from botocore.model import ServiceModel

SERVICES = ("s3", "ec2", "ebs", "iam", "kms", "ssm", "sts")


@cache
def model(service: str) -> ServiceModel:
    return ServiceModel(create_loader().load_service_model(service, "service-2"), service)
