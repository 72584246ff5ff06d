"""STS: whose the credentials are."""

from tasks.cloud.local.call import Answer, Call, Service

SERVICE = Service("sts")


@SERVICE.operation
def get_caller_identity(call: Call) -> Answer:
    return {
        "Account": call.account,
        "Arn": f"arn:aws:iam::{call.account}:root",
        "UserId": call.account,
    }
