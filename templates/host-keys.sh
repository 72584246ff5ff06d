#!/bin/sh
# At first boot, so that no two instances share a key. They are shown on the console between the lines that EC2's users
# look for: whoever reads the console over AWS's own channel need not trust the first answer on port 22.
set -eu
for type in ecdsa ed25519; do
    ssh-keygen -q -t "$type" -N '' -C '' -f "/etc/ssh/ssh_host_${type}_key"
done
{
    echo '-----BEGIN SSH HOST KEY KEYS-----'
    cat /etc/ssh/ssh_host_ecdsa_key.pub /etc/ssh/ssh_host_ed25519_key.pub
    echo '-----END SSH HOST KEY KEYS-----'
} > /dev/console
