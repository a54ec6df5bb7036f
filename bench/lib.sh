# shellcheck shell=bash
# lib.sh: what bench/run, bench/growth and bench/instructions share.

# The server's settings.  Commits go to disk.
bench_settings='fsync = on
shared_buffers = 1GB
max_connections = 100
max_wal_size = 8GB
checkpoint_timeout = 30min
autovacuum_naptime = 5
random_page_cost = 1.1'

# Debian's packages that a part needs beside scripts/setup's: a probe for each.
needed=
need() {
    local package=$1

    shift
    "$@" >/dev/null 2>&1 || needed+=" $package"
}

install_needed() {
    [ -n "$needed" ] || return 0
    [ "$(id -u)" = 0 ] || die "missing:$needed"
    echo "installing:$needed"
    apt-get -qq update >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 install $needed </dev/null >/dev/null
}

# What the figures depend on.
describe_machine() {
    echo "$(date -u +%Y-%m-%d), $(git -C "$root" log -1 --format=%h 2>/dev/null || echo 'no git'), load $(cut -d' ' -f1 /proc/loadavg)"
    echo "$("$bin/postgres" --version); $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1); $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
    echo "data on $(df --output=fstype,source "$stage" | tail -1 | tr -s ' ')"
    ! df --output=fstype "$stage" | grep -q 'tmpfs\|ramfs' ||
        echo "which is no disk: set TMPDIR to a folder on one"
    tr '\n' ';' <<<"$bench_settings" | sed 's/;$//; s/;/; /g'
    echo
}

# expand NAME: print a script of bench/.  A line "-- hundred: SQL" stands for a hundred
# statements, with 1 to 100 for {n}: a round trip each.
expand() {
    awk '
        !sub(/^-- hundred: /, "") { print; next }
        { for (n = 1; n <= 100; n++) { line = $0; gsub(/{n}/, n, line); print line } }
        ' "$root/bench/$1.sql"
}
