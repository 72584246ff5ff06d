# What a user would look at first, where init is System V's. One line each: a name, a tab, a value.
say() { printf '%s\t%s\n' "$1" "$2"; }
# sshd answers while the scripts of the run level are still at it.
tries=0
while ps ax | grep -q '[/]etc/\(rc.d/\)*rc' && [ $tries -lt 300 ]; do
    sleep 1
    tries=$((tries + 1))
done
level=$(/sbin/runlevel | cut -d ' ' -f 2)
case $level in
    [2345]) say state running ;;
    *) say state "run level $level" ;;
esac
probe=/var/tmp/.doit-ami-probe
say root-writable "$(echo yes > $probe && cat $probe && rm -f $probe)"
say address "$(/sbin/ip -4 addr show scope global | sed -n 's/^ *inet \([^ ]*\).* \([^ ]*\)$/\2 \1/p' | tr '\n' ' ')"
say clock "$(date +%s)"
{{ package_query }} | sort | while IFS= read -r line; do say package "$line"; done
