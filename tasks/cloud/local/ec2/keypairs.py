"""Key pairs: public keys that were made elsewhere, by name. CreateKeyPair is not known here: EC2 is not to see private keys."""

import binascii
from collections.abc import Sequence

from tasks.cloud.local.call import Answer, Call
from tasks.cloud.local.ec2.filters import matching, plain
from tasks.cloud.local.ec2.service import SERVICE, combination, invalid, new_id
from tasks.cloud.local.ec2.tagging import tags_asked, without_none
from tasks.cloud.local.refusal import Refusal
from tasks.cloud.local.store import Thing
from tasks.plan import keypair

PAIR = "key-pair"
LONGEST_NAME = 255  # characters
KINDS = {"ssh-rsa": "rsa", "ssh-ed25519": "ed25519"}
RSA_BITS = (1024, 2048, 4096)
TABLE = {
    **plain("key-pair-id", "key-name"),
    "fingerprint": lambda pair: pair["KeyFingerprint"],
}


def named(call: Call, name: str) -> Thing:
    """For a launch: its PublicKey is a line of OpenSSH's. Raises Refusal."""
    found = [pair for pair in call.things(PAIR).all() if pair["KeyName"] == name]
    if not found:
        raise Refusal("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")
    return found[0]


@SERVICE.operation
def import_key_pair(call: Call) -> Answer:
    name, line = call.asked["KeyName"], _line(call.asked["PublicKeyMaterial"])
    if not 0 < len(name) <= LONGEST_NAME or not name.isascii() or not name.isprintable():
        raise invalid(
            f"Value for parameter keyName is invalid: up to {LONGEST_NAME} ASCII characters, and one at least"
        )
    if name != name.strip():
        raise invalid("Value for parameter keyName is invalid: spaces at its ends")
    if any(pair["KeyName"] == name for pair in call.things(PAIR).all()):
        raise Refusal("InvalidKeyPair.Duplicate", f"The keypair '{name}' already exists.")
    pair = {
        "KeyPairId": new_id("key"),
        "KeyName": name,
        "KeyType": KINDS[line.split()[0]],
        "KeyFingerprint": keypair.fingerprint(line),
        "PublicKey": " ".join((*line.split()[:2], name)),
        "CreateTime": call.now,
        "Tags": tags_asked(call, PAIR),
    }
    call.things(PAIR).add(pair["KeyPairId"], pair)
    return without_none({key: pair[key] for key in ("KeyPairId", "KeyName", "KeyFingerprint", "Tags")})


def _line(material: bytes) -> str:
    """In OpenSSH's form; of EC2's other two, base64 without a head and RFC 4716, nothing is known here. Raises Refusal."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        line = material.decode("ascii").strip()
        key = load_ssh_public_key(line.encode())
    except (UnicodeDecodeError, ValueError, binascii.Error, UnsupportedAlgorithm):
        raise Refusal("InvalidKey.Format", "Key is not in valid OpenSSH public key format") from None
    if "\n" in line or line.split()[0] not in KINDS:
        raise Refusal("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
    if isinstance(key, RSAPublicKey) and key.key_size not in RSA_BITS:
        raise Refusal("InvalidKey.Format", "Key length is not supported: it is 1024, 2048 or 4096 bits")
    return line


@SERVICE.operation
def describe_key_pairs(call: Call) -> Answer:
    names, identities = call.get("KeyNames", ()), call.get("KeyPairIds", ())
    pairs = call.things(PAIR).listed()
    _judge_there(names, {pair["KeyName"] for pair in pairs}, "key pair")
    _judge_there(identities, {pair["KeyPairId"] for pair in pairs}, "key pair ID")
    wanted = [
        pair
        for pair in pairs
        if (not names and not identities) or pair["KeyName"] in names or pair["KeyPairId"] in identities
    ]
    public = call.get("IncludePublicKey", False)
    return {
        "KeyPairs": [
            {key: value for key, value in pair.items() if public or key != "PublicKey"}
            for pair in matching(call, wanted, TABLE)
        ]
    }


def _judge_there(wanted: Sequence[str], there: set[str], what: str) -> None:
    for each in wanted:
        if each not in there:
            raise Refusal("InvalidKeyPair.NotFound", f"The {what} '{each}' does not exist")


@SERVICE.operation
def delete_key_pair(call: Call) -> Answer:
    """What is not there is no error."""
    name, identity = call.get("KeyName"), call.get("KeyPairId")
    if not (name or identity):
        raise Refusal("MissingParameter", "The request must contain the parameter keyName or keyPairId")
    if name and identity:
        raise combination("The parameter keyName cannot be used with the parameter keyPairId")
    for pair in call.things(PAIR).all():
        if name == pair["KeyName"] or identity == pair["KeyPairId"]:
            call.things(PAIR).drop(pair["KeyPairId"])
            return {"Return": True, "KeyPairId": pair["KeyPairId"]}
    return {"Return": True}
