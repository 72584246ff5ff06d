# For bash, which needs no other program than head and stat for it: asks EC2's metadata service, version 2.
#
# imds FOLDER PATH...: what it says at each path, such as meta-data/instance-id, becomes a file of that last name in the folder,
# byte for byte; what it knows nothing of becomes none. 0: it answered. 1: there is none here, or it is switched off.
# 2: here is EC2, and it does not answer.
imds() {
    local LC_ALL=C limit=4 patience=5 silent=1 each line status
    # Where there is EC2 there is the service, however long it takes; elsewhere nobody shall have to wait for it.
    for each in /sys/hypervisor/uuid /sys/class/dmi/id/product_uuid /sys/class/dmi/id/sys_vendor; do
        line=
        { read -r line < $each; } 2> /dev/null || :
        case ${line,,} in ec2* | 'amazon ec2'*) limit=10 patience=60 silent=2 ;; esac
    done
    patience=$((SECONDS + patience))
    while :; do
        read -r -t $limit status < <(imds_once "$@" 2> /dev/null && echo 0 || echo $?) || kill $! 2> /dev/null || :
        case $status in
            0) return 0 ;;
            3) return 1 ;;
        esac
        [ $SECONDS -lt $patience ] || return $silent
        sleep 1
    done
}

imds_once() {
    local folder=$1 path file status length token
    imds_send 'PUT /latest/api/token HTTP/1.1' 'X-aws-ec2-metadata-token-ttl-seconds: 60' 'Content-Length: 0' || return 1
    [ "$status" != 403 ] || return 3
    [ "$status" = 200 ] || return 1
    IFS= read -r -N "$length" token <&3 || return 1
    for path in "$@"; do
        [ "$path" != "$folder" ] || continue
        file=$folder/${path##*/}
        imds_send "GET /latest/$path HTTP/1.1" "X-aws-ec2-metadata-token: $token" || return 1
        head -c "$length" <&3 > "$file"
        [ "$(stat -c %s "$file")" = "$length" ] || return 1 # it was cut off
        case $status in
            200) ;;
            404) rm "$file" ;;
            *) return 1 ;;
        esac
    done
}

# The lines of a request. Sets status and length; what follows is the body.
imds_send() {
    local line
    exec 3<> /dev/tcp/169.254.169.254/80 || return 1
    printf '%s\r\n' "$@" 'Host: 169.254.169.254' 'Connection: close' '' >&3 || return 1
    length=0
    read -r line status line <&3 || return 1
    while IFS= read -r line <&3 && line=${line%$'\r'} && [ -n "$line" ]; do
        case ${line,,} in content-length:*) length=${line//[!0-9]/} ;; esac
    done
}
