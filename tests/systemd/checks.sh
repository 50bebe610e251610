#!/usr/bin/env bash
# Runs inside the machine that tests/systemd.sh boots: installs rekeyd as docs/install.md says, and looks whether
# the service does what it should under a real systemd. Ends with a table, and `N passed, N failed` in /test/verdict.
set -uo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
export SYSTEMD_PAGER=cat SYSTEMD_COLORS=0

sims=/run/sims etc=/etc/rekeyd
passed=0 failed=0 marker=marker-$RANDOM$RANDOM
table=()

# check WHAT COMMAND…: runs it, and notes how it ended.
check() {
    local what=$1 began=$EPOCHREALTIME word=ok
    shift
    "$@" || word=FAILED
    if [[ $word == ok ]]; then ((++passed)); else ((++failed)); fi
    local row
    row=$(printf '%-7s %6s s  %s' "$word" "$(seconds_since "$began")" "$what")
    table+=("$row")
    printf '%s\n' "$row"
}

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'; }

# within SECONDS COMMAND…: true as soon as the command is.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

show() { systemctl show --property="$1" --value rekeyd; }
main_pid() { show MainPID; }
active() { [[ $(show ActiveState) == active && $(main_pid) != 0 ]]; }
not_pid() { active && [[ $(main_pid) != "$1" ]]; }
is() { [[ $1 == "$2" ]] || { printf '  %s, but should be %s\n' "$1" "$2"; return 1; }; }
called() { grep -qx "$1" "$sims/calls"; }
# Not grep -q: it would end before journalctl does, which would fail then.
logged() { journalctl --unit=rekeyd --output=verbose --no-pager | grep -E "$1" >/dev/null; }
as_service() { runuser -u rekeyd -- rekeyd "$@"; }
# When the key that belongs to no rotation was tested; those of rotations are tested by them too.
tested_at() { rekeyd keys list --json | awk '/"name": "other"/ { mine = 1 } mine && /"last_tested_at"/ { print; exit }'; }

# The journal for whoever reads the report, the table, and the verdict that tests/systemd.sh waits for.
finish() {
    journalctl --no-pager --output=short-precise >/test/journal.txt
    printf '\n%s\n' "What was checked under $(systemctl --version | head -n1):"
    printf '%s\n' "${table[@]}" "" "$passed passed, $failed failed"
    printf '%s passed, %s failed' "$passed" "$failed" >/test/verdict
}

# What all that follows needs.
give_up() {
    journalctl --unit=rekeyd --unit=sims --no-pager --lines=30
    echo "the rest cannot be checked"
    finish
    exit 1
}

# --- installing ------------------------------------------------------------------------------------------------

install_rekeyd() {
    install -m755 /test/rekeyd /usr/local/bin/rekeyd &&
        install -Dm644 /test/rekeyd.sysusers /etc/sysusers.d/rekeyd.conf &&
        install -Dm644 /test/rekeyd.tmpfiles /etc/tmpfiles.d/rekeyd.conf &&
        install -Dm644 /test/rekeyd.service /etc/systemd/system/rekeyd.service &&
        systemd-sysusers && systemd-tmpfiles --create rekeyd.conf && systemctl daemon-reload
}

verify_is_silent() {
    local said
    said=$(systemd-analyze verify /etc/systemd/system/rekeyd.service 2>&1) && is "$said" ""
}

example_is_silent() {
    local said
    install -Dm644 /test/rekeyd-files.conf /etc/systemd/system/rekeyd.service.d/files.conf
    said=$(systemd-analyze verify /etc/systemd/system/rekeyd.service 2>&1)
    rm /etc/systemd/system/rekeyd.service.d/files.conf
    is "$said" ""
}

exposure_is_low() {
    local said
    said=$(systemd-analyze security --offline=true /etc/systemd/system/rekeyd.service | tail -n1)
    printf '  %s\n' "$said"
    awk -v score="$(grep -oE '[0-9]+\.[0-9]' <<<"$said")" 'BEGIN { exit !(score > 0 && score <= 1.5) }'
}

start_sims() {
    systemd-run --quiet --unit=sims /test/sims "$sims" && within 60 test -s "$sims/openrouter-url"
}

# The schedule is every twenty seconds; the tests' is never, until the reload.
init() {
    local password=/run/smtp-password
    printf 'not-a-password-%s%s%s\n' "$RANDOM" "$RANDOM" "$RANDOM" >"$password"
    rekeyd init --yes --provisioning-key-file "$sims/provisioning-key" --base-url "$(<"$sims/openrouter-url")" \
        --github-repository acme/app --github-token-file "$sims/github-token" \
        --github-api-url "$(<"$sims/github-url")" --schedule '*/20 * * * * *' \
        --smtp "smtp://mailer@$(sed 's|.*//||' "$sims/smtp-url")" --smtp-password-file "$password" \
        --from rekeyd@example.com --to ops@example.com >/dev/null || return 1
    sed -i '/^\[\[rotations\]\]/a grace = "2s"\nquiet = "2s"\nobserve = "2s"\nsettle = "1s"\njitter = "0s"' \
        "$etc/rekeyd.toml"
    printf '[tests]\nschedule = "0 0 0 1 1 *"\n' >"$etc/rekeyd.d/10-tests.toml"
    rekeyd config check >/dev/null
}

files_are_closed() {
    is "$(stat -c '%a %U:%G' "$etc")" "750 root:rekeyd" &&
        is "$(stat -c '%a %U:%G' "$etc/credentials")" "750 root:rekeyd" &&
        is "$(stat -c '%a %U:%G' "$etc/rekeyd.toml")" "640 root:rekeyd" &&
        is "$(stat -c '%a %U:%G' "$etc"/credentials/* | sort -u)" "640 root:rekeyd" &&
        is "$(find "$etc/credentials" -type f | wc -l)" 4
}

store_another() { as_service keys add openrouter --name other --priority 50 <"$sims/other-key" >/dev/null; }

adopt() { as_service rotations adopt production --secret-stdin <"$sims/first-key" >/dev/null; }

# From here on only what systemd hands over can be read by the service: the files themselves are root's alone.
close_credentials() {
    chown root:root "$etc"/credentials/* && chmod 600 "$etc"/credentials/* &&
        ! runuser -u rekeyd -- cat "$etc/credentials/github-token" 2>/dev/null
}

# --- running ---------------------------------------------------------------------------------------------------

# Shorter waits than an admin wants, for the test's sake.
hurry() {
    mkdir -p /etc/systemd/system/rekeyd.service.d
    printf '[Service]\nWatchdogSec=3s\nRestartSec=1s\nTimeoutStartSec=20s\n' \
        >/etc/systemd/system/rekeyd.service.d/hurry.conf
    systemctl daemon-reload
}

becomes_ready() { systemctl start rekeyd && active && is "$(show Type)" notify; }
says_its_status() { [[ -n $(show StatusText) ]] && printf '  "%s"\n' "$(show StatusText)"; }

is_confined() {
    local status
    status=$(cat "/proc/$(main_pid)/status") &&
        is "$(stat -c %U "/proc/$(main_pid)")" rekeyd &&
        is "$(grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' <<<"$status" | awk '{print $2}' | sort -u)" 0000000000000000 &&
        is "$(awk '/^NoNewPrivs/ {print $2}' <<<"$status")" 1 && is "$(awk '/^Seccomp:/ {print $2}' <<<"$status")" 2
}

state_is_closed() {
    is "$(stat -Lc '%a %U:%G' /var/lib/rekeyd)" "700 rekeyd:rekeyd" &&
        is "$(stat -Lc '%a %U:%G' /run/rekeyd)" "750 rekeyd:rekeyd" &&
        is "$(stat -c '%a %U' /var/lib/rekeyd/rekeyd.db* | sort -u)" "600 rekeyd"
}

has_credentials() {
    is "$(find /run/credentials/rekeyd.service -name 'rekeyd_*' -type f | wc -l)" 4 &&
        cmp -s "$sims/github-token" <(cat /run/credentials/rekeyd.service/rekeyd_github-token && echo)
}

# A new key by itself: issued, published, and the adopted one gone.
has_rotated() {
    called create_key && called put_secret && called delete_key && ! grep -qx production "$sims/living" &&
        grep -qx yes "$sims/published"
}

reload() { systemctl reload rekeyd; }

valid_reload() {
    local pid
    pid=$(main_pid)
    printf '[tests]\nschedule = "*/3 * * * * *"\n' >"$etc/rekeyd.d/10-tests.toml"
    # It is "reloading" for as long as that takes.
    reload && within 30 active && is "$(main_pid)" "$pid"
}

has_tested() {
    local now
    now=$(tested_at)
    [[ $now == *T* && $now > "$1" ]]
}

invalid_reload() {
    local pid
    pid=$(main_pid)
    printf '[tests]\nschedule = "at night"\n' >"$etc/rekeyd.d/10-tests.toml"
    reload || true # whether the caller hears of it is the daemon's choice; that it lives is not
    within 30 logged 'rekeyd.d/10-tests.toml' && within 30 active && is "$(main_pid)" "$pid"
}

old_settings_stay() {
    local before
    printf '[tests]\nschedule = "*/3 * * * * *"\n' >"$etc/rekeyd.d/10-tests.toml" # the command line reads it too
    before=$(tested_at)
    within 60 has_tested "$before"
}

watchdog_restarts() {
    local pid
    pid=$(main_pid)
    ((pid > 0)) && kill -STOP "$pid" && within 60 not_pid "$pid" && is "$(show NRestarts)" 1 &&
        logged 'Watchdog timeout'
}

stops_in_time() {
    local began=$SECONDS
    systemctl stop rekeyd && is "$(show Result)" success && ((SECONDS - began < 30)) &&
        ! logged "State 'stop-sigterm' timed out"
}

starts_again() { systemctl start rekeyd && active; }

# A configuration that only a person can mend is not tried again and again.
wrong_configuration_fails() {
    systemctl stop rekeyd
    printf '[tests]\nschedule = "at night"\n' >"$etc/rekeyd.d/10-tests.toml"
    ! systemctl start rekeyd 2>/dev/null && sleep 2 && is "$(show ActiveState)" failed &&
        is "$(show ExecMainStatus)" 2 && is "$(show NRestarts)" 0
}

# Every secret there is, as one pattern a line.
secrets() {
    cat "$sims/secrets" "$sims/first-key" "$sims/provisioning-key" "$sims/github-token"
    local file
    for file in "$etc"/credentials/*; do
        cat "$file"
        echo
    done
}

# Searched in every field of every message, those of other units included. The marker proves that the search finds.
no_secret_in_the_journal() {
    echo "$marker" | systemd-cat -t control
    journalctl --sync
    sleep 1
    journalctl --output=export --all --no-pager >/run/journal.export
    grep -aq "$marker" /run/journal.export || { echo '  the search finds nothing'; return 1; }
    secrets | grep -v '^$' | sort -u >/run/patterns
    (($(wc -l </run/patterns) >= 7)) || { echo '  too few secrets'; return 1; }
    ! grep -aFf /run/patterns /run/journal.export | cut -c1-60
}

no_secret_in_the_state() {
    grep -raqF production /var/lib/rekeyd || { echo '  the search finds nothing'; return 1; }
    ! grep -raqFf /run/patterns /var/lib/rekeyd
}

# The example drop-in is enough to write a file elsewhere and to give it to a group.
example_works() {
    local folder=/etc/systemd/system/rekeyd.service.d
    install -d -o rekeyd /srv/agents
    install -Dm644 /test/rekeyd-files.conf "$folder/files.conf"
    printf '[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart=sh -c "touch /srv/agents/key && chown :daemon /srv/agents/key"\n' \
        >"$folder/zz-files.conf"
    systemctl daemon-reload && systemctl start rekeyd && is "$(stat -c '%U:%G' /srv/agents/key)" rekeyd:daemon
}

# --- the story -------------------------------------------------------------------------------------------------

check "installs: user, folders, unit" install_rekeyd
check "systemd-analyze verify prints nothing" verify_is_silent
check "nor with the example drop-in" example_is_silent
check "systemd-analyze security: 1.5 or lower" exposure_is_low
check "the simulators run" start_sims
check "init writes a configuration that passes its check" init
check "configuration and credentials are closed to others" files_are_closed
check "user rekeyd adopts the key in use before the first start" adopt
check "and stores a key that no rotation touches" store_another
check "credential files are closed to the service itself" close_credentials
hurry
check "becomes ready (Type=notify)" becomes_ready
((failed == 0)) || give_up
check "says in prose what it does" says_its_status
check "own user, no capability, no new privileges, filtered calls" is_confined
check "state 0700, runtime 0750, database 0600, all its own" state_is_closed
check "systemd hands over all credentials" has_credentials
check "a scheduled rotation issues, publishes, deletes" within 180 has_rotated
before=$(tested_at)
check "reload with a valid file: same process" valid_reload
check "the new settings apply: scheduled tests begin" within 60 has_tested "$before"
check "reload with an invalid file: said, and same process" invalid_reload
check "the old settings stay: scheduled tests go on" old_settings_stay
check "a frozen process is killed by the watchdog and restarted" watchdog_restarts
check "stops within TimeoutStopSec" stops_in_time
check "starts again" starts_again
check "a wrong configuration fails once, with status 2" wrong_configuration_fails
check "no secret in the journal" no_secret_in_the_journal
check "no secret in clear in the state" no_secret_in_the_state
check "the example drop-in lets it write elsewhere and chown" example_works

finish
