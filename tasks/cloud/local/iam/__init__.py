"""IAM: roles and the policies in them, as far as other services ask what a role may do. It has no regions."""

from tasks.cloud.local.iam import policies, roles
from tasks.cloud.local.iam.service import SERVICE

__all__ = ["SERVICE", "policies", "roles"]
