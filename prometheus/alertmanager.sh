#!/bin/sh
# Starts Alertmanager with the receivers whose secret files exist (docs/alerting.md).
#
#   alertmanager.sh [FLAG OF ALERTMANAGER...]
#   alertmanager.sh --render FOLDER      only write FOLDER/alertmanager.yml
#
# ALERTMANAGER is the program (default: alertmanager), SECRETS the folder (default: secrets, beside
# this script). A plain shell and sed: the official image has nothing more.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
secrets=${SECRETS:-$here/secrets}
names="slack_url webhook_url webhook_token watchdog_url"
smtp="smarthost from to username password require_tls"

fail() {
    echo "alertmanager.sh: $*" >&2
    exit 1
}

# Text for the right side of sed's s|||, within single quotes of YAML.
quoted() {
    printf %s "$1" | sed "s/'/''/g; s/[\\\\&|]/\\\\&/g"
}

# Switches on the lines of a secret, and puts its value in.
enable() {
    edit "s|^\( *\)#$1# |\1|; s|'@$1@'|'$(quoted "$2")'|"
}

edit() {
    sed "$1" "$target" > "$target.new"
    mv "$target.new" "$target"
}

# The first line of a secret file, without blanks around it.
secret() {
    [ -r "$secrets/$1" ] || fail "cannot read $secrets/$1 as user $(id -u); let this user read it"
    value=$(sed -n '1s/^[[:space:]]*//; 1s/[[:space:]]*$//; 1p' "$secrets/$1")
    [ -n "$value" ] || fail "$secrets/$1 is empty; write the secret into it, or remove it"
}

# The value of "key: value" in the secret file smtp.
smtp_value() {
    sed -n "s/^$1:[[:space:]]*//p" "$secrets/smtp" | sed 's/[[:space:]]*$//; q'
}

check_smtp() {
    secret smtp
    while IFS= read -r line || [ -n "$line" ]; do
        key=${line%%:*}
        case "$line" in "" | "#"*) continue ;; *:*) ;; *) key="$line" ;; esac
        case " $smtp " in
        *" $key "*) ;;
        *) fail "$secrets/smtp: \"$key\" is unknown; use ${smtp}" ;;
        esac
    done < "$secrets/smtp"
    for key in smarthost from to; do
        [ -n "$(smtp_value $key)" ] || fail "$secrets/smtp: \"$key\" is missing; add \"$key: ...\""
    done
}

# Port 465 is TLS from the first byte, where Alertmanager must not ask for STARTTLS.
require_tls() {
    case "$(smtp_value require_tls):$(smtp_value smarthost)" in
    false:* | :*:465) echo false ;;
    *) echo true ;;
    esac
}

enable_smtp() {
    check_smtp
    for key in smarthost from; do
        edit "s|^\( *smtp_$key:\).*|\1 '$(quoted "$(smtp_value $key)")'|"
    done
    edit "s|^\( *smtp_require_tls:\).*|\1 $(require_tls)|"
    edit "s|^\( *- to:\) oncall@localhost$|\1 '$(quoted "$(smtp_value to)")'|"
    [ -n "$(smtp_value username)" ] || return 0
    smtp_value password > "$run/smtp_password"
    enable smtp_username "$(smtp_value username)"
    edit "s|^\( *\)#smtp_password# |\1|; s|'@smtp_password_file@'|'$(quoted "$run/smtp_password")'|"
}

# A file under a name that means nothing would be a receiver that silently stays off.
check_names() {
    for file in "$secrets"/*; do
        name=${file##*/}
        [ -e "$file" ] && [ "$name" != README.md ] || continue
        case " $names smtp " in
        *" $name "*) ;;
        *) fail "$file: unknown; use $names smtp" ;;
        esac
    done
    [ ! -e "$secrets/webhook_token" ] || [ -e "$secrets/webhook_url" ] ||
        fail "$secrets/webhook_token needs $secrets/webhook_url beside it"
}

render() {
    run=$(cd "$1" && pwd)
    target=$run/alertmanager.yml
    check_names
    cp "$here/alertmanager.yml" "$target"
    for name in $names; do
        [ -e "$secrets/$name" ] || continue
        secret "$name"
        enable "$name" "$value"
    done
    [ ! -e "$secrets/smtp" ] || enable_smtp
    edit "s|: secrets/\([a-z_]*\)|: '$(quoted "$secrets")/\1'|; s|- templates/|- $(quoted "$here")/templates/|"
}

if [ "${1:-}" = --render ]; then
    render "${2:?a folder is missing}"
    exit
fi
render "$(mktemp -d)"
exec "${ALERTMANAGER:-alertmanager}" --config.file="$target" "$@"
