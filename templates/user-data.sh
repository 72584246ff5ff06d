#!/bin/bash
# Once for each instance: its user data are kept in /var/lib/doit-ami/user-data, and run if they are a script. What else they
# may be is for others to read.
set -eu
umask 077
. /usr/local/lib/doit-ami/imds
known=/var/lib/doit-ami told=/run/doit-ami/user-data
mkdir -p $known $told

status=0
imds $told meta-data/instance-id user-data || status=$?
[ $status = 0 ] || exit $((status - 1))
if [ -e $known/user-data.instance ] && [ "$(<$told/instance-id)" = "$(<$known/user-data.instance)" ]; then
    rm -f $told/user-data
    exit 0
fi
rm -f $known/user-data
[ ! -e $told/user-data ] || mv $told/user-data $known
mv $told/instance-id $known/user-data.instance # before they run: if they fail, or switch the machine off, they ran
[ -e $known/user-data ] || exit 0

read -r -N 2 begin < $known/user-data || :
if [ "$begin" = '#!' ]; then
    chmod 700 $known/user-data
    umask 022
    exec $known/user-data
fi
