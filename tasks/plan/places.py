"""Files that are known by where they lie, and what is wrong with them: passwords, identities, histories, credentials.

A judge takes a file's content and says what is wrong and what to do, or nothing. It never repeats a secret.
"""

import re
from collections.abc import Callable
from fnmatch import translate

Judge = Callable[[bytes], str | None]

LOCKED = {"*", "!", "!!", "!*", "*!", "x", "*LK*", "*NP*", "!locked"}  # fields that no password matches
NEVER_SET = {"", "uninitialized"}  # machine-id(5)
IN_URL = re.compile(rb"://[^/\s:@\"']+:[^/\s@\"']+@")  # user:password@
DELETE = "delete it, and revoke what it holds if the image ever left this machine"


def find(path: str) -> Judge | None:
    """Who judges the file at an absolute path, if it lies in such a place."""
    parts = path.rsplit("/", 2)
    by_name = BY_NAME.get(parts[-1]) or BY_NAME.get("/".join(parts[-2:]))
    if by_name or not ANY_GLOB.match(path):
        return by_name
    return next(judge for glob, judge in BY_GLOB if glob.match(path))


def filled(what: str) -> Judge:
    """Wrong as soon as there is anything in it."""
    return lambda content: what if content.strip(b"\0\r\n\t ") else None


def matching(pattern: str, what: str) -> Judge:
    """Wrong as soon as a line matches."""
    sought = re.compile(pattern.encode(), re.IGNORECASE | re.MULTILINE)
    return lambda content: f"holds {what}: {DELETE}" if sought.search(content) else None


def setting(names: str, what: str) -> Judge:
    """Wrong when one of the names is set to something, in a line that is no comment: `name = value`, `name: value`."""
    return matching(rf"^[^#;\n]*\b(?:{names})[\"']?[ \t]*[=:][ \t]*(?!\s|\"\"|''|$)", what)


def passwords(content: bytes) -> str | None:
    """Of passwd and shadow."""
    fields = _fields(content)
    hashed = [name for name, password in fields if password and password not in LOCKED]
    unlocked = [name for name, password in fields if not password]
    wrong = [f"holds a password of {', '.join(hashed)}"] if hashed else []
    wrong += [f"lets {', '.join(unlocked)} log in without a password"] if unlocked else []
    return f"{' and '.join(wrong)}: put '*' in its place, as usermod -p '*' NAME does" if wrong else None


def group_passwords(content: bytes) -> str | None:
    """Of group and gshadow. An empty password lets nobody in there: gshadow(5)."""
    hashed = [name for name, password in _fields(content) if password and password not in LOCKED]
    return (
        f"holds a password of the group {', '.join(hashed)}: remove it with gpasswd -r NAME"
        if hashed
        else None
    )


def _fields(content: bytes) -> list[tuple[str, str]]:
    """(name, password). A line that begins with + or - asks NIS, and has no password of its own."""
    lines = (line.split(":") for line in content.decode(errors="replace").splitlines())
    return [
        (line[0], line[1]) for line in lines if len(line) > 1 and line[0] and line[0][0] not in "#+-"
    ]


def machine_id(content: bytes) -> str | None:
    if content.decode(errors="replace").strip() in NEVER_SET:
        return None
    return "is the id of one machine, and every instance would bear it: leave the file there, but empty"


def package_source(content: bytes) -> str | None:
    """A password in an address or a setting; one that is commented out can still be read."""
    if IN_URL.search(content) or re.search(rb"^\W*(?:proxy_)?password\s*=\s*\S", content, re.MULTILINE):
        return "holds the password of a package source or a proxy: take it out; whoever has the image can read it"
    return None


def address(content: bytes) -> str | None:
    return f"holds an address with a password in it: {DELETE}" if IN_URL.search(content) else None


# Judges, and where what they judge lies: from the root (a glob, whose * crosses /), or anywhere under such a name.
PLACES: tuple[tuple[Judge, str], ...] = (
    (
        passwords,
        "/etc/passwd /etc/passwd- /etc/shadow /etc/shadow- /var/backups/passwd.bak /var/backups/shadow.bak",
    ),
    (group_passwords, "/etc/group /etc/group- /etc/gshadow /etc/gshadow-"),
    (group_passwords, "/var/backups/group.bak /var/backups/gshadow.bak"),
    (filled("holds hashes of old passwords: delete it"), "/etc/security/opasswd*"),
    (
        filled(
            "is an SSH host key, and every instance would pose as the same host: delete it; one is made at boot"
        ),
        "/etc/ssh/*ssh_host_*key* /etc/dropbear/*_host_key",
    ),
    (machine_id, "/etc/machine-id /var/lib/dbus/machine-id"),
    (
        filled(
            "is a secret or a seed that must differ on every instance: delete it; it is made anew at boot"
        ),
        """/var/lib/systemd/random-seed /var/lib/systemd/credential.secret /var/lib/urandom/random-seed
        /var/lib/random-seed /var/lib/NetworkManager/secret_key""",
    ),
    (
        filled("holds the network address of the machine that built the image: delete it"),
        """/var/lib/dhcp/*.lease* /var/lib/dhcp3/*.lease* /var/lib/dhclient/*.lease* /var/lib/dhcpcd/*.lease*
        /var/lib/NetworkManager/*.lease /run/systemd/netif/leases/*""",
    ),
    (
        filled(
            "holds what cloud-init keeps of one instance: run cloud-init clean before the image is made"
        ),
        "/var/lib/cloud/instances/*",
    ),
    (
        filled("tells what was typed while the image was made: delete it"),
        """.bash_history .ash_history .sh_history .zsh_history .histfile fish/fish_history .python_history
        .mysql_history .psql_history .sqlite_history .rediscli_history .node_repl_history .lesshst .viminfo""",
    ),
    (
        setting(
            "aws_secret_access_key|aws_session_token|gs_secret_access_key|gs_oauth2_refresh_token",
            "a cloud's key",
        ),
        ".aws/credentials .aws/config .boto /etc/boto.cfg",
    ),
    (setting("secret_key|gpg_passphrase", "an S3 key"), ".s3cfg"),
    (matching(r"^\s*[^#\s:]+:\S", "an S3 key"), ".passwd-s3fs /etc/passwd-s3fs"),
    (matching(r"^[^#\n]*\bpassword\s+\S", "a password"), ".netrc _netrc"),
    (
        matching(r"\"(?:auth|identitytoken|password)\"\s*:\s*\"[^\"]", "a registry login"),
        ".docker/config.json .dockercfg containers/auth.json",
    ),
    (address, ".git-credentials /etc/environment /etc/pip.conf pip/pip.conf .pip/pip.conf"),
    (matching(r"^[^#;\n]*(?:_authToken|_password|_auth)\s*=\s*\S", "an npm token"), ".npmrc /etc/npmrc"),
    (setting("password", "a password"), ".pypirc .my.cnf"),
    (matching(r"^[^#\n]+:[^\n]*:[^\n]*:[^\n]*:[^\n]+$", "a database password"), ".pgpass"),
    (setting("token|password|client-key-data", "a Kubernetes login"), ".kube/config"),
    (matching(r"\S", "a Vault token"), ".vault-token"),
    (matching(r"\S", "a private key of GnuPG"), "secring.gpg /*/.gnupg/private-keys-v1.d/*.key"),
    (
        matching(r"^[^#\n]*\bpassword\s+\S", "the password of a package source"),
        "/etc/apt/auth.conf /etc/apt/auth.conf.d/*",
    ),
    (
        package_source,
        """/etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf /etc/apt/apt.conf.d/*
        /etc/yum.conf /etc/yum/*.conf /etc/yum.repos.d/* /etc/dnf/dnf.conf""",
    ),
)
PATTERNS = tuple((pattern, judge) for judge, patterns in PLACES for pattern in patterns.split())
BY_NAME = {pattern: judge for pattern, judge in PATTERNS if pattern[0] != "/"}
BY_GLOB = tuple(
    (re.compile(translate(pattern)), judge) for pattern, judge in PATTERNS if pattern[0] == "/"
)
ANY_GLOB = re.compile("|".join(glob.pattern for glob, _ in BY_GLOB))  # one look instead of fifty
