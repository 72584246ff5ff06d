"""Guilty and innocent files, each with the word that its reason must have."""

import json
import subprocess
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tasks.plan import secrets

AT = "/root/.ssh/authorized_keys"
OURS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGV4cGVjdGVk image"
EXTRA = 'from="10.0.0.0/8" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGV4dHJh ops'
OTHER = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDvdGhlcg== bob@home"
EXPECTED = {AT: (OURS, EXTRA), "/etc/keys/root": (OURS,)}
KEY_ID, SECRET = "AKIA2E0A8F3B244C9986", "kWcrlUX5JEDGM/LtmEENI/aVmYvHNif5zB+d9+ct"
HASH = "$6$rounds=5000$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g."
ID = "5c9a0d7f6b1e4f0d8a3c2b1a09f8e7d6\n"


def judged(path: str, content: bytes) -> str | None:
    """As the stage `scan` asks."""
    judge = secrets.by_place(path, EXPECTED)
    reason = judge(content) if judge else None
    return reason or secrets.by_content(content, program=content.startswith(secrets.PROGRAM))


def new_rsa() -> PrivateKeyTypes:
    return rsa.generate_private_key(65537, 2048)


def new_ec() -> PrivateKeyTypes:
    return ec.generate_private_key(ec.SECP256R1())


def new_dsa() -> PrivateKeyTypes:
    return dsa.generate_private_key(1024)  # noqa: S505 - quick to make, and never used


OLD, PKCS8, OPENSSH = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8, PrivateFormat.OpenSSH
ED25519 = ed25519.Ed25519PrivateKey.generate
KEYS: dict[str, tuple[Callable[[], PrivateKeyTypes], PrivateFormat, bytes]] = {
    "RSA, PKCS1": (new_rsa, OLD, b""),
    "RSA, PKCS8": (new_rsa, PKCS8, b""),
    "RSA, encrypted": (new_rsa, PKCS8, b"word"),
    "RSA, encrypted in the old way": (new_rsa, OLD, b"word"),
    "EC": (new_ec, OLD, b""),
    "EC, PKCS8": (new_ec, PKCS8, b""),
    "DSA": (new_dsa, OLD, b""),
    "Ed25519, PKCS8": (ED25519, PKCS8, b""),
    "OpenSSH": (ED25519, OPENSSH, b""),
}


def pem(kind: str) -> bytes:
    new, form, word = KEYS[kind]
    return new().private_bytes(
        Encoding.PEM, form, BestAvailableEncryption(word) if word else NoEncryption()
    )


@pytest.mark.parametrize("kind", KEYS)
def test_a_private_key_is_found_wherever_it_lies(kind):
    """As a file, among other things, with other line ends, indented, as a string of JSON or in one line."""
    key = pem(kind)
    lines = key.decode().splitlines()
    for held in (
        key,
        b"\x7f\0\xff" * 5000 + key + b"\0" * 100,
        key.replace(b"\n", b"\r\n"),
        "\n".join(f"    {line}" for line in lines).encode(),
        json.dumps({"private_key": key.decode()}).encode(),
        key[: len(key) // 2 + 60],  # cut short is bad enough
    ):
        assert "holds a private key" in (judged("/opt/app/data", held) or ""), held


def test_a_private_key_in_one_line_is_found():
    """As it stands in a file of environment variables."""
    joined = pem("EC").replace(b"\n", b"")
    assert "holds a private key" in (judged("/opt/app/env", joined) or "")


@pytest.mark.parametrize(
    "content",
    [
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n"
        + b"lQOYBFuKx2EBCADN" * 4
        + b"\n=abcd\n",
        b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: x\n" + b"P2/56wAAAi4AAAA3" * 4 + b"\n",
        b"PuTTY-User-Key-File-2: ssh-rsa\nEncryption: none\nComment: rsa-key\nPublic-Lines: 1\nAAAAB3Nza\n"
        b"Private-Lines: 8\n" + b"AAAAgQCXM0fp" * 5 + b"\n",
    ],
)
def test_private_keys_of_other_programs_are_found(content):
    assert "private key" in (judged("/home/x/thing", content) or "")


@pytest.mark.parametrize(
    "content",
    [
        b"\x7fELF\0\0-----BEGIN RSA PRIVATE KEY-----\0-----END RSA PRIVATE KEY-----\0",
        b"-----BEGIN PRIVATE KEY-----\0-----BEGIN ENCRYPTED PRIVATE KEY-----\0" + b"A" * 80,
        b'if line == "-----BEGIN OPENSSH PRIVATE KEY-----":\n    return True\n',
        b"-----BEGIN RSA PRIVATE KEY-----\nMIIBxwIBAAJhAKD0YSHy73nUgysO13XsJmd4fHiFyQ+00R7VVu2iV9Qco\n...\n-----END",
        rb'"-----BEGIN RSA PRIVATE KEY-----\nMIIEowIABAKCAQEAqKpRgnn6yq26U3yt5YFZquyukfRjbMXDcNOK4rMCxDR...fvY4"',
        b"-----BEGIN RSA PRIVATE KEY-----\nMIIEXAMPLEBAAKCAQEA+AD3qeU2toBy5O5v7wnRLVo/tngVickL5+6Jf4tP\n-----END",
        b"-----BEGIN PUBLIC KEY-----\n"
        + b"MFkwEwYHKoZIzj0CAQYIKoZI" * 4
        + b"\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\n"
        + b"MIIDdzCCAl+gAwIBAgIEAgAA" * 4
        + b"\n-----END CERTIFICATE-----\n",
        b"an SSH PRIVATE KEY is what you must not lose",
        b"PuTTY-User-Key-File-3: is how such a file begins",
        b"",
    ],
)
def test_what_only_speaks_of_keys_is_innocent(content):
    """Programs that know keys, manuals that leave most of one out, public halves."""
    assert judged("/usr/lib/thing", content) is None


def test_a_library_may_hold_the_keys_it_tests_itself_with():
    """As libgnutls does, which every Debian has; AWS keys are no such thing."""
    assert judged("/usr/lib/libgnutls.so.30", b"\x7fELF\2\1\1\0" + pem("RSA, PKCS1")) is None
    assert judged("/usr/bin/app", f"\x7fELF\0{KEY_ID}\0{SECRET}\0".encode()) is not None


@pytest.mark.parametrize(
    ("text", "guilty"),
    [
        (f"aws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n", True),
        (f"AWS_SECRET_ACCESS_KEY={SECRET}\nexport AWS_ACCESS_KEY_ID={KEY_ID}\n", True),
        (f'{{"AccessKeyId":"{KEY_ID.replace("AKIA", "ASIA")}","SecretAccessKey":"{SECRET}"}}', True),
        (f"{KEY_ID}:{SECRET}", True),
        (f"s3://{KEY_ID}:{SECRET}@bucket", True),
        (f"first {KEY_ID} alone", False),
        (f"{KEY_ID}\n{'x' * 500}\n{SECRET}", False),
        (
            "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\nsecret = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
            False,
        ),
        (f"{KEY_ID} da39a3ee5e6b4b0d3255bfef95601890afd80709", False),  # a SHA-1
        (f"x{KEY_ID} {SECRET}", False),
        (f"CENTRAL ASIA IS LARGE {SECRET}", False),
    ],
)
def test_an_aws_key_is_its_id_near_its_secret(text, guilty):
    reason = judged("/opt/app/settings.py", text.encode())
    assert bool(reason) is guilty
    assert SECRET not in (reason or "")


PLACES = [
    # path, content, what the reason must say (nothing: innocent)
    ("/etc/shadow", f"root:{HASH}:19000:0:99999:7:::\nbin:*:19000::::::\n", "holds a password of root"),
    ("/etc/shadow-", "root:!$1$ab$cdefghijklmnopqrstuv01:19000::::::\n", "holds a password of root"),
    ("/etc/shadow", "root::19000::::::\nmail::1::::::\n", "lets root, mail log in without a password"),
    ("/etc/shadow", f"a:{HASH}:1::::::\nb::1::::::\n", "holds a password of a and lets b log in"),
    ("/etc/shadow", "root:*:1::::::\na:!:1::::::\nb:!!:1::::::\nc:!*:1::::::\n\n", ""),
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nbin:*:1:1::/:\n+::::::\n", ""),
    ("/etc/passwd", "root::0:0:root:/root:/bin/bash\n", "lets root log in without a password"),
    ("/etc/passwd-", "old:a1b2c3d4e5f6g:0:0::/:\n", "holds a password of old"),
    ("/var/backups/shadow.bak", f"root:{HASH}:1::::::\n", "holds a password of root"),
    ("/etc/gshadow", "root:*::\nwheel:::root\nbin:!::\n", ""),
    ("/etc/gshadow", f"wheel:{HASH}::\n", "holds a password of the group wheel"),
    ("/etc/group", "root:x:0:\nusers::100:\n", ""),
    ("/etc/security/opasswd", "", ""),
    ("/etc/security/opasswd", f"root:0:1:{HASH}\n", "old passwords"),
    ("/usr/share/doc/shadow", f"root:{HASH}:1::::::\n", ""),
    ("/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA root@host\n", "SSH host key"),
    ("/etc/ssh/ssh_host_rsa_key", "whatever", "SSH host key"),
    ("/etc/ssh/old/ssh_host_dsa_key-cert.pub", "ssh-dss-cert AAAA", "SSH host key"),
    ("/etc/ssh/ssh_host_rsa_key", "", ""),
    ("/etc/dropbear/dropbear_rsa_host_key", "\0\1", "SSH host key"),
    ("/etc/ssh/sshd_config", "#HostKey /etc/ssh/ssh_host_rsa_key\n", ""),
    ("/etc/ssh/moduli", "20210528015331 2 6 100 2047 5 F1\n", ""),
    ("/etc/machine-id", "", ""),
    ("/etc/machine-id", "uninitialized\n", ""),
    ("/etc/machine-id", ID, "the id of one machine"),
    ("/var/lib/dbus/machine-id", ID, "the id of one machine"),
    ("/usr/share/machine-id", ID, ""),
    ("/var/lib/systemd/random-seed", "\1\2", "differ on every instance"),
    ("/var/lib/systemd/credential.secret", "\1", "differ on every instance"),
    ("/var/lib/urandom/random-seed", "\1", "differ on every instance"),
    ("/var/lib/dhcp/dhclient.leases", "", ""),
    ("/var/lib/dhcp/dhclient.eth0.leases", "lease {}", "network address"),
    ("/var/lib/NetworkManager/internal-1.lease", "ADDRESS=1", "network address"),
    ("/var/lib/cloud/instances/i-1/user-data.txt", "#!", "cloud-init clean"),
    ("/var/lib/cloud/seed/nocloud/meta-data", "x", ""),
    *[
        (f"/root/{name}", content, wanted)
        for name in (
            ".bash_history",
            ".ash_history",
            ".zsh_history",
            ".python_history",
            ".mysql_history",
            ".lesshst",
            ".viminfo",
        )
        for content, wanted in (("ls\n", "what was typed"), ("", ""), ("\n", ""))
    ],
    ("/root/.local/share/fish/fish_history", "- cmd: ls", "what was typed"),
    ("/etc/skel/.bashrc", "HISTFILE=~/.bash_history", ""),
    ("/root/.aws/credentials", "[default]\naws_secret_access_key = abc\n", "a cloud's key"),
    ("/root/.aws/config", "[default]\nregion = eu-west-1\n", ""),
    ("/root/.boto", "[Credentials]\n# aws_secret_access_key = <yours>\n", ""),
    ("/etc/boto.cfg", "aws_secret_access_key: abc\n", "a cloud's key"),
    ("/root/.s3cfg", "access_key = a\nsecret_key = b\n", "an S3 key"),
    ("/root/.s3cfg", "access_key = \nsecret_key = \ngpg_passphrase =\n", ""),
    ("/root/.passwd-s3fs", "A:B", "an S3 key"),
    ("/etc/passwd-s3fs", "bucket:A:B\n", "an S3 key"),
    ("/root/.netrc", "machine a\nlogin b\npassword c\n", "a password"),
    ("/root/.netrc", "machine a login b # password later\n", ""),
    ("/root/.docker/config.json", '{"auths": {"r": {"auth": "dTpw"}}}', "registry login"),
    ("/root/.docker/config.json", '{"auths": {"r": {"auth": ""}}}', ""),
    ("/root/.git-credentials", "https://me:word@example.com\n", "a password in it"),
    ("/root/.npmrc", "//registry.example/:_authToken=npm_x\n", "an npm token"),
    ("/root/.npmrc", "registry=https://registry.example/\n", ""),
    ("/root/.pypirc", "[pypi]\nusername = __token__\npassword = pypi-x\n", "a password"),
    ("/root/.my.cnf", "[client]\npassword=x\n", "a password"),
    ("/root/.pgpass", "host:5432:db:me:word\n", "a database password"),
    ("/root/.kube/config", "users:\n- user:\n    token: abc\n", "a Kubernetes login"),
    ("/root/.gnupg/private-keys-v1.d/AB.key", "(11:private-key", "a private key of GnuPG"),
    ("/etc/apt/auth.conf", "machine example.com login a password b\n", "password of a package source"),
    ("/etc/apt/auth.conf.d/90-mine", "# machine example.com login a password b\n", ""),
    (
        "/etc/apt/sources.list",
        "deb https://me:word@deb.example.com/ bookworm main\n",
        "password of a package source",
    ),
    (
        "/etc/apt/sources.list.d/x.sources",
        "URIs: http://me:word@deb.example.com/\n",
        "password of a package source",
    ),
    ("/etc/apt/apt.conf.d/proxy", 'Acquire::http::Proxy "http://me:word@proxy:3128";\n', "or a proxy"),
    ("/etc/apt/sources.list", "deb http://mirror.example:80/debian bookworm main # me@home: mine\n", ""),
    (
        "/etc/yum.repos.d/x.repo",
        "baseurl=https://me:word@yum.example.com/\n",
        "password of a package source",
    ),
    ("/etc/yum.repos.d/x.repo", "[base]\npassword = word\n", "password of a package source"),
    ("/etc/yum.repos.d/x.repo", "baseurl=http://vault.centos.org/$releasever/\ngpgcheck=1\n", ""),
    ("/etc/dnf/dnf.conf", "proxy_password=word\n", "or a proxy"),
    ("/etc/environment", "http_proxy=http://me:word@proxy:3128\n", "a password in it"),
]


@pytest.mark.parametrize(("path", "content", "wanted"), PLACES)
def test_files_known_by_their_place(path, content, wanted):
    """Each place when it is guilty, and when it is what it should be."""
    reason = judged(path, content.encode())
    assert (wanted in (reason or "")) if wanted else reason is None, reason
    assert ": " in (reason or ": "), "a reason says what to do"
    assert not any(word in (reason or "") for word in (HASH, "me:word", SECRET))


@pytest.mark.parametrize(
    ("path", "content", "wanted"),
    [
        (AT, f"{OURS}\n", ""),
        (AT, f"# ours\n\n{OURS} and a longer comment\n{EXTRA}\n", ""),
        (AT, "", ""),
        (AT, f"{OURS}\n{OTHER}\n", "lets in a key that nobody asked for (ssh-rsa bob@home)"),
        (AT, f"{OTHER}\n{OTHER[:-9]}\n", "lets in 2 keys"),
        (AT, f"{EXTRA.replace('10.0', '0.0')}\n", "lets in a key"),  # the same key with other rights
        (AT, f'command="x" {OURS}\n', "lets in a key"),
        (AT, f'environment="A={OURS.split()[1]}" {OTHER}\n', "lets in a key"),
        (AT, "1024 35 1234567890 old@protocol1\n", "lets in a key"),
        ("/etc/keys/root", f"{OURS}\n{OTHER}\n", "lets in a key"),
        ("/etc/keys/root", f"{OURS}\n", ""),
        ("/root/.ssh/authorized_keys2", f"{OURS}\n", "lets in a key"),  # nobody asked for it there
        ("/home/bob/.ssh/authorized_keys", f"{OURS}\n", "lets in a key"),
        ("/etc/ssh/authorized_keys.d/root", f"{OTHER}\n", "lets in a key"),
        ("/etc/ssh/authorized_keys/root", f"{OTHER}\n", "lets in a key"),
        ("/root/.ssh/known_hosts", f"host {OTHER}\n", ""),
        ("/root/.ssh/id_rsa.pub", f"{OTHER}\n", ""),
    ],
)
def test_only_expected_keys_let_in_and_only_where_they_are_expected(path, content, wanted):
    reason = judged(path, content.encode())
    assert (wanted in (reason or "")) if wanted else reason is None, reason


def test_openssl_and_ssh_keygen_make_what_is_found(tmp_path):
    """Keys of programs, beside those of the library."""
    for argv in (
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "word", "-f", "key"),
        ("ssh-keygen", "-q", "-t", "rsa", "-b", "1024", "-m", "PEM", "-N", "", "-f", "key"),
        ("openssl", "genpkey", "-algorithm", "X25519", "-out", "key"),
        ("openssl", "ecparam", "-genkey", "-name", "secp384r1", "-out", "key"),
    ):
        (tmp_path / "key").unlink(missing_ok=True)
        subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
        assert "holds a private key" in (judged("/srv/key", (tmp_path / "key").read_bytes()) or ""), argv
