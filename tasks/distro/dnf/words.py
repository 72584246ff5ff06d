"""The words of dnf 4, of dnf5 and of rpm below them, and what they mean.

In the order in which they explain each other: what is said later is often a consequence. The order within a topic is
that in which it is told.
"""

import re

from tasks.distro.complaints import Complaint
from tasks.kit.fault import ConfigFault, HostFault, ToolFault
from tasks.kit.proc import FULL, ROOM

CORRECT = "correct the name, or add the repository that has it"
GONE_ON = "what was fetched is kept: run doit again, and it goes on from there"
# dnf 4 names a repository in these quotes, dnf5 in those.
OF_REPOSITORY = r"Failed to download metadata (?:\([^)]*\) )?for repo(?:sitory)? ['\"]([^'\"]+)['\"]"
# What dnf5 says of a list of mirrors that it did not get.
OF_LIST = r"Failed to download metadata \((?:mirrorlist|metalink): [^)]*\) for repository \"([^\"]+)\": Download failed: "
# What dnf5 says of a package's signature, up to the reason.
OF_SIGNATURE = r"PGP check for package \"([^\"]+)\" .*has failed: "
FETCHING = re.compile(r"(?:Status code|Curl error|Downloading successful, but checksum)")
PROBLEM = re.compile(r"^ *(?:Problem(?: \d+)?: (?!conflicting requests$)|- (?!conflicting requests$))")
UNKNOWN_GROUP = re.compile(r"Module or Group '(.+)' is not available|No match for argument: @(.+)")
UNKNOWN_PACKAGE = re.compile(r"No match for argument: ([^@\s]\S*)")

SPACE = (
    Complaint(
        re.compile(r"installing package (\S+) needs \S+ (?:more space|inodes) on the \S+ filesystem"),
        HostFault,
        "no space is left for {0}",
        ROOM,
        topic="space",
        because=re.compile(r"At least \S+ more space needed"),
    ),
    Complaint(
        re.compile(r"Curl error \(23\)|[Cc]annot write \S*|fwrite\(\) failed"),
        HostFault,
        "what is fetched cannot be written: no space is left for it",
        ROOM,
        topic="space",
    ),
    Complaint(
        # The last is dnf5's word for its history, which is all that it says when rpm's database has no room.
        re.compile(rf"database or disk is full|{FULL}|SQL statement execution failed: \"ROLLBACK\""),
        HostFault,
        "no space is left for the root file system",
        ROOM,
        topic="space",
    ),
)
NAMES = (
    Complaint(UNKNOWN_GROUP, ConfigFault, "groups: no repository has {0}", CORRECT, topic="names"),
    Complaint(UNKNOWN_PACKAGE, ConfigFault, "packages: no repository has {0}", CORRECT, topic="names"),
    Complaint(
        re.compile(
            r"filtered out by exclude filtering for argument: (\S+)|Argument '([^']+)' matches only excluded packages"
        ),
        ConfigFault,
        "packages: `exclude` keeps out {0}",
        "take it from one of the two: packages, or exclude",
        topic="names",
    ),
    Complaint(
        re.compile(
            r"filtered out by modular filtering for argument: (\S+)|Argument '([^']+)' matches only source packages"
        ),
        ConfigFault,
        "packages: cannot be installed: {0}",
        topic="names",
    ),
)
SOLVING = (
    Complaint(
        re.compile(r"package (\S+)(?: from \S+)? does not have a compatible architecture"),
        ConfigFault,
        "architecture: for another one than the image's: {0}",
        "write the architecture that they are for, or other repositories",
        topic="solving",
        because=PROBLEM,
    ),
    Complaint(
        re.compile(r"nothing provides (.+?) needed by (\S+)"),
        ConfigFault,
        "repositories: nothing in them brings {0}, needed by {1}",
        "add the repository that has it, or leave out what needs it",
        topic="solving",
        because=PROBLEM,
    ),
    Complaint(
        re.compile(r"package (\S+)(?: from \S+)? is filtered out by (?:exclude|modular) filtering"),
        ConfigFault,
        "exclude: it keeps out {0}, which others need",
        "leave it in, or leave out what needs it",
        topic="solving",
        because=PROBLEM,
    ),
    Complaint(
        re.compile(r"package (\S+)(?: from \S+)? conflicts with .+? provided by (\S+?)(?: from \S+)?$"),
        ConfigFault,
        "packages: {0} and {1} do not go together",
        "leave one of them out",
        topic="solving",
        because=PROBLEM,
    ),
    Complaint(
        re.compile(
            r"package (\S+)(?: from \S+)? (?:implicitly )?obsoletes .+? provided by (\S+?)(?: from \S+)?$"
        ),
        ConfigFault,
        "packages: {0} takes the place of {1}, and both are wanted",
        "leave one of them out",
        topic="solving",
        because=PROBLEM,
    ),
    Complaint(
        re.compile(r"cannot install both (\S+)(?: from \S+)? and (\S+?)(?: from \S+)?$"),
        ConfigFault,
        "packages: {0} and {1} exclude each other",
        "leave one of them out",
        topic="solving",
        because=PROBLEM,
    ),
    Complaint(
        re.compile(r"package (\S+)(?: from \S+)? (?:is not installable|has inferior architecture)"),
        ConfigFault,
        "packages: cannot be installed: {0}",
        topic="solving",
        because=PROBLEM,
    ),
)
SIGNATURES = (
    Complaint(
        re.compile(rf"Package (\S+?)(?:\.rpm)? is not signed|{OF_SIGNATURE}The package is not signed"),
        ConfigFault,
        "repositories: nobody has signed {0}",
        "`gpgcheck: false` installs what nobody has signed",
        topic="signatures",
    ),
    Complaint(
        re.compile(
            r"Public key for (\S+?)(?:\.rpm)? is not (?:installed|trusted)"
            r"|correct key URLs are configured for this repository\.\. Failing package is: (\S+)"
            rf"|{OF_SIGNATURE}(?:Public key is not installed|No corresponding key was found"
            r"|The signature is valid, but the key is not trusted|Import of the key didn't help|The repository does not have)"
        ),
        ConfigFault,
        "repositories: signed with a key that `gpgkey` does not hold: {0}",
        "add the key to `gpgkey`, if you trust it",
        topic="signatures",
    ),
    Complaint(
        re.compile(
            r"Key import failed \(code \d+\)\. Failing package is: (\S+)|Failed to import public key \"(\S+)\""
            rf"|{OF_SIGNATURE}Public key import failed"
        ),
        ConfigFault,
        "repositories: rpm on this machine refuses the key for {0}",
        "a key of its distribution that was made later may be one that it takes",
        topic="signatures",
    ),
    Complaint(
        re.compile(
            rf"Problem opening package (\S+?)(?:\.rpm)?(?:\s|$)|{OF_SIGNATURE}Problem occurred when opening"
        ),
        ConfigFault,
        "repositories: not as it was signed, or not in a way that rpm on this machine takes: {0}",
        "the mirror may serve something else than its distribution signed: try another",
        topic="signatures",
    ),
)
METADATA = (
    Complaint(
        re.compile(rf"{OF_REPOSITORY}: GPG verification is enabled, but GPG signature is not available"),
        ConfigFault,
        "repositories: the metadata of {0} is not signed",
        "`repo_gpgcheck: false` takes it; packages are checked all the same",
        topic="metadata",
        because=FETCHING,
    ),
    Complaint(
        re.compile(rf"{OF_REPOSITORY}: repomd\.xml GPG signature verification error"),
        ConfigFault,
        "repositories: the metadata of {0} is not as a key of `gpgkey` has signed it",
        "add the key to `gpgkey`, if you trust it, or take another mirror",
        topic="metadata",
    ),
    Complaint(
        re.compile(
            rf"{OF_REPOSITORY}: (?:repomd\.xml parser error|Parsing unsuccessful)"
            r"|Error loading local metadata for repository \"([^\"]+)\""
        ),
        HostFault,
        "repositories: what the mirror serves as the metadata of {0} is something else",
        "open it in a browser: it may be a page that wants you to log in",
        topic="metadata",
        because=re.compile(r"^ +Librepo error: "),
    ),
    Complaint(
        re.compile(rf"{OF_REPOSITORY}: (?:Cannot prepare internal mirrorlist: )?No URLs in mirrorlist"),
        HostFault,
        "repositories: the list of mirrors of {0} names none",
        "open `mirrorlist` in a browser; or write `baseurl` instead",
        topic="metadata",
    ),
    Complaint(
        re.compile(rf"{OF_REPOSITORY}: Cannot prepare internal mirrorlist: (?!No URLs)|{OF_LIST}"),
        HostFault,
        "repositories: the list of mirrors of {0} cannot be used",
        "open it in a browser; or write `baseurl` instead",
        topic="metadata",
        because=FETCHING,
    ),
    Complaint(
        re.compile(
            rf"(?!{OF_LIST}){OF_REPOSITORY}"
            r"(?!: (?:GPG verif|repomd\.xml|Parsing unsuccessful|Cannot prepare internal|No URLs in mirrorlist))"
        ),
        HostFault,
        "repositories: the metadata of {0} cannot be fetched",
        "look whether the address leads to the folder that holds repodata/, and serves it whole; "
        + GONE_ON,
        topic="metadata",
        because=FETCHING,
    ),
)
FETCHED = (
    Complaint(
        re.compile(
            r"(\S+?)(?:\.rpm)?: Downloading successful, but checksum doesn't match"
            r"|>>> Downloading successful, but checksum doesn't match\. .*/(\S+)\.rpm$"
        ),
        HostFault,
        "the mirror serves {0}, but it is not what its metadata says",
        "the mirror is being updated, or is damaged: wait, or take another; " + GONE_ON,
        because=FETCHING,
    ),
    Complaint(
        re.compile(
            r"(\S+?)(?:\.rpm)?: (?:Cannot download, all mirrors|Download failed)"
            r"|Librepo error: Cannot download (?:\S*/)?(\S+?)(?:\.rpm)?: All mirrors"
        ),
        HostFault,
        "the mirrors did not give {0}",
        GONE_ON,
        because=FETCHING,
    ),
)
CHECKED = (
    Complaint(
        re.compile(r"file (\S+) conflicts between attempted installs of (\S+) and (\S+)"),
        ConfigFault,
        "packages: {1} and {2} both bring {0}",
        "leave one of them out, or `exclude` it",
        topic="checked",
    ),
    Complaint(
        re.compile(r"package (\S+) is intended for a (.+)$"),
        ConfigFault,
        "architecture: {0} is for a {1}",
        topic="checked",
    ),
    Complaint(
        re.compile(r"package (\S+) does not verify: (.+?)(?: \(Expected .*)?$"),
        ConfigFault,
        "repositories: rpm on this machine does not accept {0}: {1}",
        "it is damaged, or signed in a way that has gone out of use: try another mirror",
        topic="checked",
    ),
)
UNPACKED = (
    Complaint(
        re.compile(
            r"Error unpacking rpm package (\S+)|Error in cpio payload of rpm package (\S+)"
            r"|(?:Unpack|Cpio) error: (\S+)"
        ),
        ToolFault,
        "packages: cannot be unpacked: {0}",
        because=re.compile(r"unpacking of archive failed|cpio: "),
    ),
)
KNOWN = (
    *SPACE,
    *NAMES,
    *SOLVING,
    *SIGNATURES,
    *METADATA,
    *FETCHED,
    *CHECKED,
    *UNPACKED,
)
