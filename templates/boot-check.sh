# What a user would look at first. One line each: a name, a tab, a value.
say() { printf '%s\t%s\n' "$1" "$2"; }
state=$(timeout 300 systemctl is-system-running --wait)
say state "$state"
say failed-units "$(systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1 | tr '\n' ' ')"
probe=/var/tmp/.doit-ami-probe
say root-writable "$(echo yes > $probe && cat $probe && rm $probe)"
say root-bytes "$(df --block-size=1 --output=size / | tail -n 1 | tr -d ' ')"
say address "$(ip -brief -4 address show scope global | tr -s ' ')"
say route "$(ip -4 route show default)"
say clock "$(date +%s)"
say machine-id "$(cat /etc/machine-id)"
{{ package_query }} | sort | while IFS= read -r line; do say package "$line"; done
