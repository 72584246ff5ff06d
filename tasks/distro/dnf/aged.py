"""Packages of System V's time, for an rpm of today, which knows how to check them and by default no longer does.

They bear MD5 and SHA-1, and DSA signatures of version 3. rpm 6 looks at no such digest, and Sequoia, to which most builds
of rpm since 4.18 leave signatures, accepts no such signature. What is not signed with a key of `gpgkey` is refused all the
same.
"""

from collections.abc import Mapping
from pathlib import Path

from tasks.kit import files

MACROS = {"_pkgverify_flags": "0x0"}  # the digests that rpm does not look at: none
POLICY = """\
[hash_algorithms]
sha1 = "always"
[asymmetric_algorithms]
dsa1024 = "always"
[packets]
signature.v3 = "always"
"""


def environment(home: Path) -> Mapping[str, str]:
    """What dnf and rpm are to find there. The policy lies in `home`; an rpm without Sequoia does not read it."""
    policy = home / "policy"
    files.write(policy, POLICY)
    return {"RPM_SEQUOIA_CRYPTO_POLICY": str(policy)}
