#!/usr/bin/env bash
# Measures `keys import`: 10,000 lines of mixed forms, untested, into a new SQLite store and once more when all are known.
# Must reach: 5 s.
#
#   benches/import.sh [PROGRAM]    the optimised program, built here, unless another one is named
#
# Nothing is called over the network.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d /tmp/rekeyd-import.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
program=${1:-target/release/rekeyd}
[[ -n ${1:-} ]] || cargo build --quiet --locked --release

umask 077
"$program" encryption generate-key >"$scratch/key"
cat >"$scratch/rekeyd.toml" <<END
[database]
url = "sqlite:$scratch/rekeyd.db"
[encryption]
keys = "file:$scratch/key"
END
awk 'BEGIN { for (n = 0; n < 10000; n++) {
    key = sprintf("%024d%024d", n, n)
    if (n % 3 == 0) print "openai sk-proj-" key
    else if (n % 3 == 1) print "GROQ_API_KEY=gsk_" key "abcd"
    else print "sk-ant-api03-" key } }' >"$scratch/keys.txt"
"$program" --config "$scratch/rekeyd.toml" db migrate >/dev/null

measure() {
    local began
    began=$(date +%s%N)
    "$program" --config "$scratch/rekeyd.toml" keys import "$scratch/keys.txt" --no-test >/dev/null 2>"$scratch/said"
    printf '%-34s %6d ms   %s\n' "$1" "$((($(date +%s%N) - began) / 1000000))" "$(cat "$scratch/said")"
}
measure "10,000 lines, all new"
measure "10,000 lines, all known"
