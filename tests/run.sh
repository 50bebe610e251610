#!/usr/bin/env bash
# Checks and tests everything that is in this repository.
#
#   tests/run.sh                 all of it
#   tests/run.sh quick           format, lints, unit tests; no database server
#   tests/run.sh it [FILTER…]    the integration tests, with their PostgreSQL server
#   tests/run.sh systemd         the service under a real systemd, as root or through sudo
#   tests/run.sh faults          the 34 faults of docs/safety.md and the model, with a table of what was proved
#   tests/run.sh defences [FAULT | WORD…]
#                                takes each defence of tests/defences.toml away and demands that its test fails; not
#                                part of all of it: it takes about 35 minutes on two cores
#   tests/run.sh deny            licences, sources and bans of the dependencies
#
# Needs Rust with rustfmt and clippy. What else is missing (a C compiler, PostgreSQL's server programs, Python
# with `cryptography` and `PyNaCl`) is installed on Debian and its relatives, as root or through sudo. The server
# is a private one: in a temporary folder, on a free loopback port, gone when this script ends.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/sbin:/sbin" # runuser, and what apt-get needs
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
running=""
began=0
scratch=""
server_user=()

# --- steps -----------------------------------------------------------------------------------------------------

say() { printf '\n== %s\n' "$*" >&2; }

die() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

# step NAME COMMAND…: says what runs and how long it took; the first step that fails ends the script.
step() {
    running=$1
    began=$SECONDS
    shift
    say "$running"
    "$@" </dev/null
    say "$running: ok, $((SECONDS - began)) s"
    running=""
}

ending() {
    local status=$?
    trap - EXIT
    [[ -z $scratch ]] || remove_postgres
    if ((status != 0)) && [[ -n $running ]]; then
        say "$running: FAILED after $((SECONDS - began)) s"
    fi
    exit "$status"
}
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

# Unoptimised: it builds in half the time and has little to do.
need_deny() {
    PATH="$PWD/target/tools/bin:$PATH"
    has cargo-deny ||
        CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --root target/tools cargo-deny
}

# --- a PostgreSQL server of our own ----------------------------------------------------------------------------

# PostgreSQL refuses to run as root.
as_server() { (cd "$scratch" && "${server_user[@]}" "$@"); }

remove_postgres() {
    if [[ -e $scratch/data/postmaster.pid ]]; then
        as_server "$bin/pg_ctl" stop -D "$scratch/data" -m immediate -w >/dev/null 2>&1 || true
    fi
    rm -rf "$scratch"
}

start_postgres() {
    local port user
    bin=$(postgres_bin)
    scratch=$(mktemp -d /tmp/rekeyd-postgres.XXXXXX)
    if ((EUID == 0)); then
        user=nobody
        ! id postgres >/dev/null 2>&1 || user=postgres
        chown "$user" "$scratch"
        server_user=(runuser -u "$user" --)
    else
        server_user=(env)
    fi
    as_server "$bin/initdb" -D "$scratch/data" -U postgres -A trust -E UTF8 --no-locale -N >/dev/null
    # Nothing in it outlives the tests, and they never crash this server: it need not wait for its disk.
    as_server tee -a "$scratch/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$scratch'
max_connections = 400
shared_buffers = 32MB
fsync = off
full_page_writes = off
log_min_messages = fatal
CONF
    for _ in {1..20}; do
        port=$((20000 + RANDOM % 12000))
        if as_server "$bin/pg_ctl" start -D "$scratch/data" -o "-p $port" -l "$scratch/data/log" -w >/dev/null 2>&1; then
            export REKEYD_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port"
            return
        fi
    done
    cat "$scratch/data/log" >&2
    die "the server does not start"
}

with_postgres() {
    [[ -z ${REKEYD_TEST_POSTGRES:-} ]] || return 0
    step "PostgreSQL's programs" need_postgres
    step "a PostgreSQL server" start_postgres
}

# --- the steps -------------------------------------------------------------------------------------------------

checks() {
    step "format" cargo fmt --check
    step "lints" cargo clippy --locked --all-targets -- -D warnings
}

documentation() {
    RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --locked --no-deps --document-private-items
}

# Tests mostly wait: more of them at once than there are cores. The kill cases are many programs at once already, and
# come one test after the other. All leave a line of what they proved; a table of them ends what ran them.
proofs=target/faults
models=target/tmp/model

tests() {
    rm -rf "$proofs" "$models"
    RUST_TEST_THREADS=${RUST_TEST_THREADS:-4} cargo test --locked "$@" --skip faults::kill
    cargo test --locked --test it -- faults::kill --test-threads 1
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
    for number in $(seq -w 1 34); do
        compgen -G "$proofs/fault_${number}_*.sqlite.txt" >/dev/null || missing+=("$number on SQLite")
        compgen -G "$proofs/fault_${number}_*.postgres.txt" >/dev/null || missing+=("$number on PostgreSQL")
    done
    ((${#missing[@]} == 0)) || die "not proved: ${missing[*]}"
}

dependencies() {
    need_deny
    cargo deny --locked check bans licenses sources
}

main() {
    local what=${1:-all}
    (($# == 0)) || shift
    step "Rust" need_rust
    case $what in
    all)
        step "Python" need_python
        with_postgres
        checks
        step "documentation" documentation
        step "dependencies" dependencies
        step "tests" tests --
        step "what was proved" table_of_proofs
        step "systemd" tests/systemd.sh
        ;;
    quick)
        step "Python" need_python
        checks
        step "unit tests" cargo test --locked --lib --bins
        ;;
    it)
        with_postgres
        step "integration tests" cargo test --locked --test it -- "$@"
        ;;
    faults)
        with_postgres
        step "faults" tests --test it -- faults:: model::
        step "what was proved" table_of_proofs
        ;;
    defences)
        step "Python" need_tomllib
        with_postgres
        step "defences" python3 tests/defences.py "$@"
        ;;
    systemd) step "systemd" tests/systemd.sh ;;
    deny) step "dependencies" dependencies ;;
    *) die "unknown: $what (all, quick, it [FILTER…], faults, defences [FAULT | WORD…], systemd, deny)" ;;
    esac
    say "all of it: ok, $SECONDS s"
}

main "$@"
