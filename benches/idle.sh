#!/usr/bin/env bash
# What stored keys cost while none is due: memory and CPU of an idle daemon with 1, 10,000, 100,000 and 1,000,000 of them
# (or as many as the arguments say), made by SQL in a SQLite store.
#
#   benches/idle.sh [KEYS …]          REKEYD_PROGRAM=target/debug/rekeyd takes another program than a release build
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d /tmp/rekeyd-idle.XXXXXX)
daemon=""
trap '[[ -z $daemon ]] || kill "$daemon" 2>/dev/null || true; rm -rf "$scratch"' EXIT

program=${REKEYD_PROGRAM:-target/release/rekeyd}
[[ -n ${REKEYD_PROGRAM:-} ]] || cargo build --quiet --locked --release
umask 077
"$program" encryption generate-key >"$scratch/encryption-key"
cat >"$scratch/rekeyd.toml" <<CONF
[server]
listen = "127.0.0.1:0"
[database]
url = "sqlite:$scratch/rekeyd.db"
[encryption]
keys = "file:$scratch/encryption-key"
[tests]
schedule = "0 0 0 1 1 *"
[log]
format = "text"
CONF

start() {
    : >"$scratch/log"
    "$program" --config "$scratch/rekeyd.toml" serve 2>"$scratch/log" &
    daemon=$!
    until grep -q ' ready database' "$scratch/log"; do
        kill -0 "$daemon" || { cat "$scratch/log" >&2; exit 1; }
        sleep 0.05
    done
}

stop() {
    kill -TERM "$daemon"
    wait "$daemon"
    daemon=""
}

# So many keys of twenty providers, which are due next year.
fill() {
    python3 - "$scratch/rekeyd.db" "$1" <<'PY'
import sqlite3, sys, time
path, count = sys.argv[1], int(sys.argv[2])
store = sqlite3.connect(path)
now = int(time.time() * 1000)
due = now + 180 * 86_400_000
store.execute("DELETE FROM keys")
for n in range(20):
    store.execute("INSERT OR IGNORE INTO providers (name, kind, next_number, created_at) VALUES (?, 'openai', 1, 0)", (f"p{n}",))
health = '{"verdict":"valid","looked_at":%d,"settled_at":%d}' % (now, now)
rows = ((f"key-{n:09}", f"p{n % 20}", n, health, now, now, due, now) for n in range(count))
store.executemany(
    """INSERT INTO keys (id, provider, number, name, priority, is_active, settings, secret, mask, role, origin, verdict,
         health, created_at, updated_at, next_look_at, looked_at)
       VALUES (?, ?, ?, 'k', 50, 1, '{}', 'sealed elsewhere', 'sk-...', 'manual', 'given', 'valid', ?, ?, ?, ?, ?)""", rows)
store.commit()
PY
}

# Ticks of the CPU that the daemon has used, user and system.
ticks() { awk '{ print $14 + $15 }' "/proc/$daemon/stat"; }

start
stop
printf '%12s %14s %16s %14s\n' keys "memory (KiB)" "CPU in 20 s (ms)" "percent"
for keys in "${@:-1}" $([[ $# -gt 0 ]] || echo 10000 100000 1000000); do
    fill "$keys"
    start
    sleep 10
    before=$(ticks)
    sleep 20
    used=$((($(ticks) - before) * 1000 / $(getconf CLK_TCK)))
    memory=$(awk '/VmRSS/ { print $2 }' "/proc/$daemon/status")
    printf '%12s %14s %16s %14s\n' "$keys" "$memory" "$used" "$(awk "BEGIN { print $used / 200 }")"
    stop
done
