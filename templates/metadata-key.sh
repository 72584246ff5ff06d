#!/bin/bash
# Once for each instance: the key that it was launched with may log in, and that of the instance that its image was made of
# no longer. Keys that came another way stay.
set -eu
umask 077
. /usr/local/lib/doit-ami/imds
keys={{ authorized_keys }}
known=/var/lib/doit-ami/key told=/run/doit-ami/key
mkdir -p $known $told

status=0
imds $told meta-data/instance-id meta-data/public-keys/0/openssh-key || status=$?
if [ $status = 1 ]; then
    echo 'there is no metadata service here, or it is switched off: no key was added'
fi
[ $status = 0 ] || exit $((status - 1))
id=$(<$told/instance-id)
if [ -e $known/instance-id ] && [ "$id" = "$(<$known/instance-id)" ]; then
    exit 0
fi

old='' new=''
[ ! -e $known/openssh-key ] || old=$(<$known/openssh-key)
[ ! -e $told/openssh-key ] || new=$(<$told/openssh-key)
mkdir -p "${keys%/*}"
{
    if [ -e "$keys" ]; then
        while IFS= read -r line || [ -n "$line" ]; do
            [ "$line" = "$old" ] || [ "$line" = "$new" ] || printf '%s\n' "$line"
        done < "$keys"
    fi
    [ -z "$new" ] || printf '%s\n' "$new"
} > "$keys.new"
chmod {{ authorized_keys_mode }} "$keys.new"
mv "$keys.new" "$keys"
# The instance's id comes last: whoever is stopped before does it all again.
if [ -n "$new" ]; then
    mv $told/openssh-key $known
    echo "the key of $id may log in"
else
    rm -f $known/openssh-key
    echo "$id was launched without a key: none was added"
fi
mv $told/instance-id $known
