#!/usr/bin/env bash
# Holds the API to its own description, docs/openapi.json: requests that are right, that are wrong, and that follow from
# each other, made by schemathesis. No answer of it is a 5xx, or one that the description does not know.
#
#   tests/contract.sh [SECONDS]    the program must be built; 100 s when nobody says
#
# Nothing leaves this machine: the daemon's way to the outside is a proxy that is not there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-100}
version=4.32.5
program=$PWD/target/debug/rekeyd
tool=$PWD/target/schemathesis-$version
folder=$(mktemp -d /tmp/rekeyd-contract.XXXXXX)
daemon=""

ending() {
    [[ -z $daemon ]] || kill -TERM "$daemon" 2>/dev/null || true
    [[ -z $daemon ]] || wait "$daemon" 2>/dev/null || true
    rm -rf "$folder"
}
trap ending EXIT

need_schemathesis() {
    [[ ! -x $tool/bin/schemathesis ]] || return 0
    rm -rf "$tool"
    python3 -m venv "$tool"
    "$tool/bin/python3" -m pip install --quiet --disable-pip-version-check "schemathesis==$version"
}

start_daemon() {
    umask 077
    "$program" encryption generate-key >"$folder/key"
    cat >"$folder/rekeyd.toml" <<CONF
[server]
listen = "127.0.0.1:0"
[database]
url = "sqlite:$folder/rekeyd.db"
[encryption]
keys = "file:$folder/key"
[network]
proxy = "http://127.0.0.1:9"
[log]
format = "text"
CONF
    export REKEYD_CONFIG=$folder/rekeyd.toml
    : >"$folder/log"
    "$program" serve >"$folder/log" 2>&1 &
    daemon=$!
    for _ in {1..600}; do
        url=$(sed -nE 's/.*(http:\/\/127\.0\.0\.1:[0-9]+).*/\1/p' "$folder/log" | head -n 1)
        [[ -z $url ]] || return 0
        sleep 0.1
    done
    cat "$folder/log" >&2
    return 1
}

# The token goes by a file: what stands in a command is seen by everybody on the machine.
write_settings() {
    local token
    token=$("$program" tokens create contract --role admin --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')
    printf 'headers = { Authorization = "Bearer %s" }\n' "$token" >"$folder/schemathesis.toml"
    printf 'header = "Authorization: Bearer %s"\n' "$token" >"$folder/curl"
}

# Something of each kind, so that what follows from each other finds something.
furnish() {
    printf 'not-a-password-of-ada' | "$program" users add ada@example.com --role viewer
    printf 'sk-proj-false-key-0123456789' | "$program" keys add openai --no-test --secret-stdin
    "$program" providers add nova --kind openai
} >"$folder/furnished" 2>&1

# Events go on for ever; and whoever takes tokens back takes their own, too.
ask() (
    description=$PWD/docs/openapi.json
    cd "$folder" # it leaves things where it runs
    "$tool/bin/schemathesis" --config-file schemathesis.toml run "$description" --url "$url" \
        --phases examples,coverage,fuzzing,stateful --max-time "$seconds" --max-examples 20 \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
        --exclude-path-regex '/events$' --exclude-operation-id delete_tokens_id --generation-database none --no-color --warnings off
)

need_schemathesis
start_daemon
write_settings
furnish
ask
# Who is not let in any more is answered 401 all the time, which the description knows.
curl --silent --show-error --fail --config "$folder/curl" "$url/api/v1/system" >"$folder/system"
kill -0 "$daemon"
