#!/bin/sh
# Writes GRUB's menu from the kernels in /boot, the newest first, and says which. The packages of kernels run it when one
# comes or goes. /etc/kernel/cmdline is what a kernel is started with: after a change of it, run this.
set -eu
export LC_ALL=C
menu=/boot/grub/grub.cfg
arguments=$(tr -s '\n' ' ' < /etc/kernel/cmdline)
initrd() {
    for each in "initrd.img-$1" "initramfs-$1.img" "initrd-$1.img" "initrd-$1"; do
        [ ! -e "/boot/$each" ] || { echo "/boot/$each" && return; }
    done
}
# One without an initramfs may be half installed, and comes last.
whole='' bare=''
for version in $(ls /boot | sed -n 's/^vmlinuz-//p' | grep -v -e rescue -e '[;~]' -e '\.\(dpkg-.*\|old\|bak\|rpm.*\)$' | sort -rV); do
    if [ -n "$(initrd "$version")" ]; then whole="$whole $version"; else bare="$bare $version"; fi
done
if [ -z "$whole$bare" ]; then
    echo 'no kernel is in /boot: the boot menu stays as it was' >&2
    exit 0
fi
mkdir -p "${menu%/*}"
{
    echo "# Written by $0, which see."
    echo 'set default=0'
    echo 'set fallback=1'
    echo 'set timeout_style=hidden'
    echo 'set timeout=1'
    for version in $whole $bare; do
        file=$(initrd "$version")
        echo "menuentry '$version' {"
        echo "    linux /boot/vmlinuz-$version $arguments"
        [ -z "$file" ] || echo "    initrd $file"
        echo '}'
    done
} > "$menu.new"
# GRUB finds the old menu or the new one.
sync "$menu.new"
mv "$menu.new" "$menu"
sync "${menu%/*}"
echo "boot menu:$whole$bare"
