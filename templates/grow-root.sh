#!/bin/sh
# At each boot: where the disk is larger than it was, its table, the partition of the root and the file system follow.
set -eu
root=$(readlink -f "/sys/dev/block/$(mountpoint -d /)")
device=/dev/${root##*/}
if [ -e "$root/partition" ]; then
    disk=${root%/*}
    # sysfs counts in sectors of 512 bytes. Behind the root there is the copy of the table, with 1 MiB to itself.
    behind=$(($(cat "$disk/size") - $(cat "$root/start") - $(cat "$root/size")))
    if [ "$behind" -gt 4096 ]; then
        number=$(cat "$root/partition") disk=/dev/${disk##*/}
        echo ', +' | sfdisk --quiet --no-reread --no-tell-kernel --partno "$number" "$disk"
        partx --update --nr "$number" "$disk"
    fi
fi
resize2fs "$device"
