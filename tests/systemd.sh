#!/usr/bin/env bash
# Tests the service under a real systemd, in a machine that is thrown away afterwards.
#
#   tests/systemd.sh            builds what is missing, boots, checks, prints a table; exit 0 only when all passed
#   tests/systemd.sh prepare    only builds what is missing
#
# Needs root (it asks sudo) on Debian or a relative; mmdebstrap and systemd-container are installed when missing.
# The root file system of the machine is built once and kept in target/systemd/; its changes are in memory only.
# The machine has no network but its loopback, where the simulators (examples/sims.rs) play the vendors.
# What is checked: tests/systemd/checks.sh, which runs inside. Left behind in target/systemd/: journal.txt.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
repo=$PWD
cache=$repo/target/systemd
packages=systemd,systemd-sysv,dbus,libnss-systemd,procps,ca-certificates
patience=${REKEYD_SYSTEMD_PATIENCE:-150} # seconds for everything inside
stage="" machine="" watcher=""
groups=()

say() { printf '== %s\n' "$*" >&2; }
die() {
    printf 'tests/systemd.sh: %s\n' "$*" >&2
    exit 1
}

build() {
    command -v cargo >/dev/null || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    say "building the binary and the simulators"
    cargo build --quiet --bin rekeyd --example sims
}

need_programs() {
    local missing=()
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "please install ${missing[*]}"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The same release as this machine: the binary was linked against its libraries.
root_fs() {
    local suite root new
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && printf %s "${VERSION_CODENAME:?}")
    root=$cache/root-$suite-$(printf %s "$packages" | cksum | cut -d' ' -f1)
    if [[ ! -d $root ]]; then
        say "building the machine's root file system (once)"
        new=$root.new.$$
        mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$new" >"$cache/mmdebstrap.log" 2>&1 ||
            die "mmdebstrap failed: $cache/mmdebstrap.log"
        tr -d - </proc/sys/kernel/random/uuid >"$new/etc/machine-id" # else every boot is a first boot
        mkdir -p "$new/test"
        mv "$new" "$root"
    fi
    printf %s "$root"
}

# What goes in, and what comes out again.
prepare_stage() {
    stage=$(mktemp -d)
    install -m755 target/debug/rekeyd target/debug/examples/sims tests/systemd/checks.sh "$stage/"
    cp systemd/* "$stage/"
    : >"$stage/report"
}

# Where systemd runs this machine, nspawn asks it for a scope. Elsewhere (in a container) the machine needs a control
# group of its own, or it would take over ours: one in the unified hierarchy, and one in the named hierarchy of
# hosts that have both.
enter_group=()
own_groups() {
    [[ ! -d /run/systemd/system ]] || return 0
    local mount group
    while read -r mount; do
        group=$mount/rekeyd-test.$$
        mkdir "$group" 2>/dev/null || continue
        groups+=("$group")
    done < <(awk '$3 == "cgroup2" || ($3 == "cgroup" && $4 ~ /name=systemd/) {print $2}' /proc/mounts)
    ((${#groups[@]})) || die "no control group can be made here: is /sys/fs/cgroup writable?"
    enter_group=(--keep-unit)
}

# shellcheck disable=SC2016 # expanded by the inner shell
boot() {
    local root=$1
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid bash -c '
        while [[ $1 != -- ]]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"' boot "${groups[@]}" -- \
        systemd-nspawn --quiet --register=no "${enter_group[@]}" --directory="$root" --machine="rekeyd-test-$$" \
        --volatile=overlay --private-network --console=pipe --bind="$stage:/test" \
        --boot systemd.unit=rekeyd-test.target systemd.show_status=no systemd.log_target=journal \
        >"$stage/console" 2>&1 </dev/null &
    machine=$!
}

# The unit that runs the checks and then switches the machine off.
write_units() {
    mkdir -p "$1/etc/systemd/system"
    cat >"$1/etc/systemd/system/rekeyd-test.target" <<'UNIT'
[Unit]
Requires=basic.target dbus.socket
Wants=rekeyd-test.service
After=basic.target dbus.socket
UNIT
    cat >"$1/etc/systemd/system/rekeyd-test.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=basic.target dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/bash /test/checks.sh
StandardOutput=append:/test/report
StandardError=append:/test/report
UNIT
}

stop_machine() {
    kill -0 "$machine" 2>/dev/null || return 0
    kill -TERM "$machine" 2>/dev/null || true # nspawn switches the machine off
    for _ in {1..50}; do
        kill -0 "$machine" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$machine" 2>/dev/null || true
}

ending() {
    local status=$? group
    trap - EXIT
    [[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true
    [[ -z $machine ]] || stop_machine
    for group in "${groups[@]}"; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    [[ -z $stage ]] || rm -rf "$stage"
    exit "$status"
}

main() {
    [[ -n ${REKEYD_SYSTEMD_BUILT:-} ]] || build
    if ((EUID != 0)); then
        command -v sudo >/dev/null || die "needs root"
        exec sudo REKEYD_SYSTEMD_BUILT=yes "$repo/tests/systemd.sh" "$@"
    fi
    trap ending EXIT
    trap 'exit 130' INT TERM HUP
    mkdir -p "$cache"
    need_programs
    local root began=$SECONDS
    root=$(root_fs)
    [[ ${1:-} != prepare ]] || return 0
    write_units "$root"
    prepare_stage
    own_groups
    say "booting"
    boot "$root"
    tail -n +1 -f "$stage/report" &
    watcher=$!
    while kill -0 "$machine" 2>/dev/null && ((SECONDS - began < patience)); do sleep 0.2; done
    sleep 0.5 # for the rest of the report
    cp "$stage/journal.txt" "$cache/journal.txt" 2>/dev/null || true
    [[ -s $stage/report ]] || die "nothing ran inside: $(tail -n 20 "$stage/console")"
    [[ -e $stage/verdict ]] || die "the checks did not come to their end within $patience s"
    say "$(<"$stage/verdict"), $((SECONDS - began)) s"
    [[ $(<"$stage/verdict") =~ ^[1-9][0-9]*\ passed,\ 0\ failed$ ]]
}

main "$@"
