"""How the two distributions differ from the Debian that they are made of: what goes where, and what is done to the tree before."""

from dataclasses import replace
from pathlib import Path

from tests.rpmtree import BASE, NOTHING, Rpm, Shape

KERNEL = "/boot/vmlinuz-"
PRESET = "usr/lib/systemd/system-preset/90-default.preset"


def to(package: str, names: str) -> dict[str, str]:
    """Several names that come to one package."""
    return dict.fromkeys(names.split(), package)


# What a tree gathers while it is made and runs, and what nobody ships.
LITTER = to(
    NOTHING,
    """
    /dev/* /proc/* /sys/* /run/* /tmp/* /var/tmp/* /var/log/* /var/cache/*
    /var/lib/dpkg* /var/lib/apt* /var/lib/pam* /var/lib/ucf* /var/lib/shells.state /var/lib/systemd/deb-* /var/lib/dbus*
    /usr/bin/rpm2archive
    /etc/apt* /etc/dpkg* /etc/ucf.conf /usr/share/debconf* /usr/share/lintian* /usr/share/info*
    /etc/ld.so.cache /etc/.pwd.lock /etc/*- /etc/hostname /etc/resolv.conf /etc/.resolv*
    /etc/ssh/ssh_host_* /vmlinuz* /initrd.img* /root/.gnupg* /root/.ssh*
    """,
)
# Debian's own tools, and what nothing but them or a corner of rpm's needs.
DEBIANS = to(
    NOTHING,
    """
    debconf ucf usrmerge libfile-find-rule-perl libnumber-compare-perl libtext-glob-perl
    perl perl-modules-5.36 libperl5.36 libgdbm6 libgdbm-compat4 libarchive13 libxml2 libicu72
    """,
)
# What maintainer scripts made, and whose it is.
MADE = {
    **to("setup", "/etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/shells /etc/subuid /etc/subgid"),
    **to(
        "setup",
        "/etc/environment /etc/fstab /etc/host.conf /etc/hosts.* /etc/motd /etc/profile /etc/inputrc",
    ),
    **to("setup", "/etc/nsswitch.conf /etc/timezone"),
    **to("ca-certificates", "/etc/ssl/certs/* /etc/ca-certificates.conf"),
    **to("openssh-server", "/etc/ssh/sshd_config"),
    **to("rpm", "/etc/rpm*"),
}
SSHD_USER = """\
getent group sshd > /dev/null || groupadd --system --gid 74 sshd
getent passwd sshd > /dev/null || useradd --system --uid 74 --gid sshd --home-dir /run/sshd \\
    --comment "Privilege-separated SSH" --shell /usr/sbin/nologin --no-create-home sshd
"""
# In every tree: the user that openssh-server's scriptlet makes is not there before; no group is needed before there are
# any; rpm knows where its database is.
COMMON = """
cd "$1"
sed -i '/^sshd:/d' etc/passwd etc/shadow etc/group etc/gshadow
chown 0:0 etc/shadow etc/gshadow
chmod 400 etc/shadow etc/gshadow
mkdir -p etc/rpm
echo '%_dbpath /var/lib/rpm' > etc/rpm/macros
"""


# Of today, for x86_64.

RELEASE_OF_TODAY = """\
NAME="Test Distribution"
PRETTY_NAME="Test Distribution 1"
ID=testdist
VERSION_ID=1
"""
# Units are enabled by a preset and each package's scriptlet: the links that Debian made go, and become its lines.
SCRIPT_OF_TODAY = f"""
cat > usr/lib/os-release <<'END'
{RELEASE_OF_TODAY}END
echo 'Test Distribution release 1' | tee etc/issue.net > etc/testdist-release
printf 'Test Distribution 1 \\\\n \\\\l\\n\\n' > etc/issue
: > etc/machine-id
mkdir -p {Path(PRESET).parent}
{{
    find etc/systemd/system -type l -printf '%l\\n' | sed 's|.*/||' | grep -v dpkg
    echo systemd-networkd.service
}} | sort -u | sed 's/^/enable /' > {PRESET}
echo 'disable *' >> {PRESET}
find etc/systemd/system -mindepth 1 -delete
: > "boot/initrd.img-$(ls usr/lib/modules)"
"""
# What depmod and update-initramfs make.
GENERATED = """
/boot/initrd.img-* /lib/modules/*/modules.alias* /lib/modules/*/modules.dep* /lib/modules/*/modules.devname
/lib/modules/*/modules.softdep /lib/modules/*/modules.symbols* /lib/modules/*/modules.builtin.*bin
""".replace("/lib", "/usr/lib")
TODAY = Shape(
    arch="x86_64",
    architecture="amd64",
    wanted="""
    linux-image-cloud-amd64 systemd-sysv systemd-resolved systemd-timesyncd dbus libpam-systemd udev
    fdisk iproute2 iputils-ping openssh-server ca-certificates e2fsprogs zstd tzdata rpm
    """,
    script=COMMON + SCRIPT_OF_TODAY,
    names=DEBIANS,
    claims={
        **LITTER,
        **MADE,
        **to(
            "testdist-release",
            f"/{PRESET} /etc/testdist-release /etc/issue* /etc/machine-id /usr/lib/os-release",
        ),
        **to("initramfs-tools-core", "/etc/initramfs-tools/*"),
        **to("kmod", "/etc/modules"),
        **to("libpam-runtime", "/etc/pam.d/common-* /etc/security/opasswd"),
        **to("systemd", "/var/lib/systemd/*"),
        **to("udev", "/usr/lib/udev/hwdb.bin"),
    },
    capabilities={"/usr/bin/ping": "cap_net_raw=ep"},
    own=(
        Rpm("setup"),
        Rpm(BASE),
        Rpm("testdist-release", provides={"system-release = 1", "redhat-release = 1"}),
        Rpm("dash", provides={"/bin/sh"}),
        Rpm("libc-bin", provides={"/sbin/ldconfig"}),
        Rpm("openssh-server", before={"passwd", "libc-bin"}, scripts={"pre": SSHD_USER}),
    ),
    # As Fedora's glibc does it: once a transaction, whoever brought a library.
    triggers="%transfiletriggerin -n libc-bin -P 2000000 -- /lib /usr/lib\n/sbin/ldconfig\n",
)


def with_kernel(shape: Shape, version: str) -> Shape:
    """The shape with what is the kernel's, whose package has the version in its name."""
    scripts = {"post": f"depmod -a {version}", "posttrans": f"update-initramfs -c -k {version}"}
    kernel = Rpm(f"linux-image-{version}", requires={"initramfs-tools", "kmod"}, scripts=scripts)
    return replace(
        shape,
        claims={**shape.claims, **to(kernel.name, GENERATED)},
        ghosts=tuple(GENERATED.split()),
        own=(*shape.own, kernel),
    )


# In the shape of EL4, for i386.

SCRIPT_OF_EL4 = """
mkdir -p usr/lib/tls etc/rc.d etc/sysconfig/network-scripts
for each in libc.so.6 libm.so.6 libpthread.so.0 librt.so.1; do
    cp -L "usr/lib/i386-linux-gnu/$each" usr/lib/tls/
done
for each in init.d rc0.d rc1.d rc2.d rc3.d rc4.d rc5.d rc6.d; do
    mv "etc/$each" etc/rc.d/
    ln -s "rc.d/$each" "etc/$each"
done
find etc/rc.d -name '*ssh' -delete
cat > etc/rc.d/init.d/sshd <<'END'
#!/bin/sh
# As EL4's: the host keys are made when it first starts.
[ "$1" = start ] || exit 0
mkdir -p /run/sshd
[ -s /etc/ssh/ssh_host_ecdsa_key ] || ssh-keygen -q -t ecdsa -N '' -C '' -f /etc/ssh/ssh_host_ecdsa_key
exec /usr/sbin/sshd
END
cat > etc/rc.d/init.d/network <<'END'
#!/bin/sh
# As EL4's: by what lies in /etc/sysconfig and nothing else.
[ "$1" = start ] || exit 0
. /etc/sysconfig/network
hostname "$HOSTNAME"
[ "$NETWORKING" = yes ] || exit 0
ip link set lo up
for each in /etc/sysconfig/network-scripts/ifcfg-*; do
    . "$each"
    [ "$ONBOOT" = yes ] && [ "$BOOTPROTO" = dhcp ] || continue
    ip link set "$DEVICE" up
    dhclient -1 "$DEVICE"
done
END
chmod 755 etc/rc.d/init.d/sshd etc/rc.d/init.d/network
touch etc/rc.d/init.d/.legacy-bootordering # the order is in the names, as it was
for each in 2 3 4 5; do
    ln -s ../init.d/network etc/rc.d/rc$each.d/S10network
    ln -s ../init.d/sshd etc/rc.d/rc$each.d/S55sshd
done
sed -i 's/^id:.:initdefault:/id:3:initdefault:/' etc/inittab
rm -f var/lock
mkdir -p var/lock/subsys
ln -sf bash usr/bin/sh
echo 'CentOS release 4.7 (Final)' > etc/redhat-release
printf 'CentOS release 4.7 (Final)\\nKernel \\\\r on an \\\\m\\n\\n' > etc/issue
cat > etc/sysconfig/init <<'END'
BOOTUP=color
PROMPT=yes
END
for each in ifup ifdown; do
    printf '#!/bin/sh\\nexec ip link set "$1" %s\\n' "${each#if}" > etc/sysconfig/network-scripts/$each
    chmod 755 etc/sysconfig/network-scripts/$each
done
cat > etc/ssh/sshd_config <<'END'
#Port 22
Protocol 2
SyslogFacility AUTHPRIV
#PermitRootLogin yes
PasswordAuthentication yes
ChallengeResponseAuthentication no
UsePAM yes
#UseDNS yes
X11Forwarding yes
Subsystem sftp /usr/lib/openssh/sftp-server
END
"""
NAMES_OF_EL4 = DEBIANS | {
    **to("audit-libs", "libaudit1 libaudit-common"),
    **to("bzip2-libs", "libbz2-1.0"),
    **to("db4", "libdb5.3"),
    **to("dhclient", "isc-dhcp-client isc-dhcp-common"),
    **to("e2fsprogs", "libcom-err2"),
    **to(BASE, "base-files"),
    **to("gawk", "mawk"),
    **to("glibc", "libc6 libc-bin"),
    **to("initscripts", "sysv-rc startpar insserv"),
    **to("iproute", "iproute2"),
    **to("krb5-libs", "libgssapi-krb5-2 libk5crypto3 libkrb5-3 libkrb5support0"),
    **to("libacl", "libacl1"),
    **to("libattr", "libattr1"),
    **to("libgcc", "libgcc-s1 gcc-12-base"),
    **to("libselinux", "libselinux1"),
    **to("libstdc++", "libstdc++6"),
    **to("ncurses", "libncursesw6 libtinfo6 ncurses-base ncurses-bin"),
    **to("net-tools", "hostname"),
    **to("openssh", "openssh-sftp-server"),
    **to("openssh-clients", "openssh-client"),
    **to("openssl", "libssl3"),
    **to("pam", "libpam0g libpam-modules libpam-modules-bin libpam-runtime"),
    **to("popt", "libpopt0"),
    **to("procps", "libproc2-0"),
    **to("readline", "libreadline8 readline-common"),
    **to("rpm", "rpm-common rpm2cpio"),
    **to("rpm-libs", "librpm9 librpmio9 librpmbuild9 librpmsign9"),
    **to("setup", "base-passwd"),
    **to("shadow-utils", "passwd"),
    **to("SysVinit", "sysvinit-core sysvinit-utils"),
    **to("util-linux", "bsdutils login mount libmount1 libsmartcols1 util-linux-extra"),
    **to("zlib", "zlib1g"),
    # /bin/sh is bash's there. The distribution of today keeps dpkg, which mkinitramfs asks for the architecture.
    **to(NOTHING, "dash dpkg debianutils init-system-helpers adduser runit-helper sensible-utils"),
}
VCSA = """\
/usr/sbin/groupadd -g 69 -r -f vcsa > /dev/null 2>&1
/usr/sbin/useradd -c "virtual console memory owner" -u 69 -g vcsa -s /sbin/nologin -r -M -d /dev vcsa \\
    > /dev/null 2>&1 || :
"""
BASH_IN_SHELLS = """\
if [ ! -f /etc/shells ]; then
    echo /bin/bash > /etc/shells
elif ! grep -q '^/bin/bash$' /etc/shells; then
    echo /bin/bash >> /etc/shells
fi
"""
WTMP = """\
touch /var/log/wtmp
chown root:utmp /var/log/wtmp
chmod 664 /var/log/wtmp
"""
NODES = {
    "console": (5, 1, "0600"),
    "full": (1, 7, "0666"),
    "mem": (1, 1, "0640"),
    "null": (1, 3, "0666"),
    "ptmx": (5, 2, "0666"),
    "random": (1, 8, "0666"),
    "tty": (5, 0, "0666"),
    "tty0": (4, 0, "0620"),
    "urandom": (1, 9, "0444"),
    "vcs": (7, 0, "0600"),
    "zero": (1, 5, "0666"),
}


def _node(name: str) -> str:
    major, minor, mode = NODES[name]
    owner = "vcsa" if name == "vcs" else "root"
    return f"%dev(c, {major}, {minor}) %attr({mode}, {owner}, root) /dev/{name}"


EL4 = Shape(
    arch="i386",
    architecture="i386",
    wanted="openssh-server rpm iproute2 isc-dhcp-client e2fsprogs kmod sysvinit-core initscripts tzdata",
    script=COMMON + SCRIPT_OF_EL4,
    updates="update",
    checksum="sha",
    names=NAMES_OF_EL4,
    claims={
        **LITTER,
        **MADE,
        **to(
            NOTHING,
            "/etc/systemd* /usr/lib/systemd* /etc/debian_version /etc/os-release /usr/lib/os-release",
        ),
        **to(NOTHING, "/etc/sv* /etc/runit* /etc/issue.net /usr/share/base-files* /etc/update-motd.d*"),
        **to("bash", "/usr/bin/sh"),
        **to("centos-release", "/etc/redhat-release /etc/issue"),
        **to("dev", "/dev"),
        **to("glibc", "/usr/lib/tls*"),
        **to(
            "initscripts", "/etc/sysconfig* /etc/rc?.d /etc/init.d /etc/rc.d /etc/rc.d/init.d/.depend.*"
        ),
        **to("pam", "/etc/pam.d/common-* /etc/security/opasswd"),
        **to("SysVinit", "/etc/inittab"),
    },
    own=(
        Rpm("setup"),
        Rpm(BASE),
        Rpm("centos-release", version="4", release="7.1", provides={"redhat-release = 4"}),
        Rpm(
            "dev",
            "3.39",
            "1",
            before={"shadow-utils"},
            scripts={"pre": VCSA},
            files=[_node(each) for each in NODES],
        ),
        Rpm("glibc", provides={"/sbin/ldconfig"}, scripts={"post": "</sbin/ldconfig>"}),
        Rpm("bash", provides={"/bin/sh", "/bin/bash"}, scripts={"post": BASH_IN_SHELLS}),
        Rpm("initscripts", before={"coreutils"}, scripts={"post": WTMP}),
        Rpm(
            "openssh-server",
            requires={"openssh"},
            before={"shadow-utils", "glibc"},
            scripts={"pre": SSHD_USER},
        ),
    ),
)
