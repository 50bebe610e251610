#!/usr/bin/env bash
# Measures what the README claims, with the optimised program on an idle machine:
#
#   benches/figures.sh           size, start to ready (new store, then an existing one), idle memory and CPU
#   benches/figures.sh --clean   the time of a clean development build and a clean release build, too
#
# Nothing is called over the network: the configuration has a store and no account.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d /tmp/rekeyd-figures.XXXXXX)
daemon=""
trap '[[ -z $daemon ]] || kill "$daemon" 2>/dev/null || true; rm -rf "$scratch"' EXIT

figure() { printf '%-44s %s\n' "$1" "$2"; }
now() { date +%s%N; }

clean_build() {
    local began
    began=$SECONDS
    CARGO_TARGET_DIR="$scratch/target" cargo build --quiet --locked "$@"
    figure "clean build ${*:-of development}" "$((SECONDS - began)) s"
    rm -rf "$scratch/target"
}

# Starts the daemon and waits for its own word that it is ready; prints the milliseconds since it was started.
start() {
    local began
    : >"$scratch/log"
    began=$(now)
    "$program" --config "$scratch/rekeyd.toml" serve 2>"$scratch/log" &
    daemon=$!
    until grep -q ' ready database' "$scratch/log"; do
        kill -0 "$daemon" || { cat "$scratch/log" >&2; exit 1; }
        sleep 0.002
    done
    figure "$1" "$((($(now) - began) / 1000000)) ms"
}

stop() {
    local began
    began=$(now)
    kill -TERM "$daemon"
    wait "$daemon"
    daemon=""
    figure "$1" "$((($(now) - began) / 1000000)) ms"
}

# Ticks of the CPU that the daemon has used, user and system.
ticks() { awk '{ print $14 + $15 }' "/proc/$daemon/stat"; }

if [[ ${1:-} == --clean ]]; then
    clean_build
    clean_build --release
fi
cargo build --quiet --locked --release
program=target/release/rekeyd
figure "size of the release binary" "$(($(stat -c %s "$program") / 1024)) KiB"

umask 077
"$program" encryption generate-key >"$scratch/encryption-key"
cat >"$scratch/rekeyd.toml" <<CONF
[server]
listen = "127.0.0.1:0"
[database]
url = "sqlite:$scratch/rekeyd.db"
[encryption]
keys = "file:$scratch/encryption-key"
[log]
format = "text"
CONF

start "start to ready, new store"
stop "SIGTERM to the end, idle"
start "start to ready, existing store"
sleep 10
before=$(ticks)
sleep 20
used=$(($(ticks) - before))
figure "idle memory (resident)" "$(($(awk '/VmRSS/ { print $2 }' "/proc/$daemon/status") / 1024)) MiB"
figure "idle CPU in 20 s" "$((used * 1000 / $(getconf CLK_TCK))) ms"
stop "SIGTERM to the end, idle"
