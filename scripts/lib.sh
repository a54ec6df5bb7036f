# shellcheck shell=bash
# lib.sh: a stage of its own for each run of scripts/test and scripts/demo.
#
# Nothing is built in the checkout and nothing is installed into the system's
# PostgreSQL.  A run makes one private folder, the stage:
#
#   pg/      a copy of the PostgreSQL installation.  PostgreSQL finds its files
#            relative to its programs, so the copy's pg_config, PGXS and server
#            use the copy, and "make install" goes into it.
#   src/     a copy of the checkout, built there with whatever is in it
#   data/    a throw-away server; its socket is in socket/ and it listens
#            nowhere else, so no port can be taken
#
# These folders belong to an unprivileged user, who alone can enter them: the
# caller or, if that is root (whom PostgreSQL refuses), a system user, who
# needs no access to the checkout, and cannot write where root does.  On exit,
# however it comes about, what was started is stopped and the stage removed;
# other runs have other stages.  A script's on_leave function, if it has one,
# gets the exit status after that.
#
# Sourced by bash scripts with set -euo pipefail.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
stage=          # the folder, once it is made
job=            # the process group of what is running
helpers=()      # the process groups of what runs beside it
bin=            # the private PostgreSQL's programs

# What the caller's environment says about other servers and other makes is
# not for us.  What is for us begins with PG_CAS_ or PG_TEST_, or is PG_CONFIG.
for name in ${!PG*}; do
    case $name in
        PG_CAS_* | PG_TEST_* | PG_CONFIG) ;;
        *) unset "$name" ;;
    esac
done
unset name MAKEFLAGS MFLAGS MAKELEVEL TESTDIR CDPATH
export LC_ALL=C.UTF-8 TZ=UTC

# A sanitizer's report ends its process.  What a program has not freed when it
# ends is no fault: PostgreSQL's free little.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:disable_coredump=0
export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
umask 022

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# The user for whom the stage is, made if need be.
if [ "$(id -u)" = 0 ]; then
    user=pgcas
else
    user=$(id -un)
fi

make_user() {
    id "$user" >/dev/null 2>&1 ||
        useradd --system --user-group --no-create-home \
            --home-dir /nonexistent --shell /usr/sbin/nologin \
            --comment 'pg_cas tests' "$user" 2>/dev/null ||
        id "$user" >/dev/null   # another run was faster
}

# Run a command in the stage as that user.
as_user() {
    (
        exec 3>&-
        cd "${stage:-/}" || exit
        export HOME=${stage:-}/tmp TMPDIR=${stage:-}/tmp
        export USER=$user LOGNAME=$user
        if [ "$(id -u)" = 0 ]; then
            exec setpriv --reuid "$user" --regid "$user" --clear-groups \
                --inh-caps=-all "$@"
        fi
        exec "$@"
    )
}

# Run a function or command as a process group of its own, so that a signal
# that ends this script ends all of it, and at once.
in_group() {
    local status=0

    set -m
    "$@" </dev/null &
    job=$!
    set +m
    wait "$job" || status=$?
    job=
    return $status
}

# Run a command beside the others until the script ends, or stop_helpers.
start_helper() {
    set -m
    "$@" </dev/null &
    helpers+=($!)
    set +m
    disown
}

stop_helpers() {
    local group

    for group in "${helpers[@]}"; do
        kill -KILL -- "-$group" 2>/dev/null || :
    done
    helpers=()
}

# Stop every server of the stage, by the process that wrote its postmaster.pid.
stop_servers() {
    local pidfile

    [ -n "$bin" ] || return 0
    find "$1" -name postmaster.pid 2>/dev/null | while read -r pidfile; do
        as_user "$bin/pg_ctl" stop -s -m immediate \
            -D "$(dirname "$pidfile")" >/dev/null 2>&1 || :
    done
}

leave() {
    local status=$? i

    trap '' INT TERM HUP
    set +e
    exec >&3            # a signal may come while it is redirected
    stop_helpers
    if [ -n "$job" ]; then
        kill -TERM -- "-$job" 2>/dev/null
        for i in {1..100}; do
            kill -0 -- "-$job" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$job" 2>/dev/null
    fi
    if [ -n "$stage" ] && [ ! -e "$stage/keep-server" ]; then
        stop_servers "$stage"
        [ -e "$stage/keep" ] || rm -rf "$stage"
    fi
    if declare -F on_leave >/dev/null; then
        on_leave "$status"
    fi
    exit "$status"
}
exec 3>&1
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Make the stage's folder: where that user may run programs, with a path that
# is short enough for a socket.
make_folder() {
    local parent

    for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
        [ ${#parent} -le 40 ] && [ -d "$parent" ] || continue
        stage=$(mktemp -d "$parent/pg_cas.XXXXXX" 2>/dev/null) || continue
        printf '#!/bin/sh\n' >"$stage/probe"
        chmod 755 "$stage/probe"
        chgrp "$(id -g "$user")" "$stage" 2>/dev/null &&
            chmod 710 "$stage" && as_user "$stage/probe" 2>/dev/null && break
        rm -rf "$stage"
        stage=
    done
    [ -n "$stage" ] || die "no folder for temporary programs; set TMPDIR"
    rm "$stage/probe"
}

# The PostgreSQL to copy: the caller's choice, or the newest with its headers.
find_pg_config() {
    local dir

    if [ -n "${PG_CONFIG:-}" ]; then
        command -v "$PG_CONFIG" || die "PG_CONFIG=$PG_CONFIG is no program"
        return
    fi
    for dir in $(ls -d /usr/lib/postgresql/* 2>/dev/null | sort -rV); do
        if [ -x "$dir/bin/postgres" ] &&
            [ -f "$("$dir/bin/pg_config" --includedir-server)/postgres.h" ]; then
            echo "$dir/bin/pg_config"
            return
        fi
    done
    command -v pg_config || die "no pg_config"
}

# The stage, with both copies in it.
make_stage() {
    local pg_config dirs objects=() i

    make_user
    make_folder
    pg_config=$(find_pg_config)
    mapfile -t dirs < <("$pg_config" --bindir --sharedir --pkglibdir \
        --includedir-server --libdir)

    # A PostgreSQL of its own folder has its libpq there.
    [ "${dirs[4]}" = "$(dirname "${dirs[0]}")/lib" ] || unset 'dirs[4]'
    mkdir -m 700 "$stage"/{pg,src,data,socket,tmp}
    for i in "${dirs[@]}"; do
        mkdir -p "$stage/pg$i"
        cp -a --reflink=auto "$i/." "$stage/pg$i"
    done
    bin=$stage/pg${dirs[0]}
    [ "$("$bin/pg_config" --sharedir)" = "$stage/pg${dirs[1]}" ] ||
        die "the PostgreSQL of $pg_config does not work from another folder"

    # Objects in the checkout may be another PostgreSQL's.  Only a test that
    # runs a script in its own stage knows better.
    [ -n "${PG_CAS_KEEP_OBJECTS:-}" ] ||
        objects=(--exclude='*.o' --exclude='*.bc' --exclude='*.so')
    tar -C "$root" -cf - --exclude=./.git --exclude=./tmp_check \
        --exclude=./results --exclude=./output_iso \
        --exclude='./regression.*' "${objects[@]}" . |
        tar -C "$stage/src" -xf - --no-same-owner
    chown -R "$user:" "$stage"/{pg,src,data,socket,tmp}
    PATH=$bin:$PATH
}

# make in the stage's copy of the checkout.  PG_CAS_MAKE has more arguments.
stage_make() {
    local clang

    # no bitcode without the compiler for it
    clang=$(sed -n 's/^CLANG[[:space:]]*=[[:space:]]*//p' \
        "$(dirname "$("$bin/pg_config" --pgxs)")/../Makefile.global")
    [ -z "$clang" ] || command -v "${clang%% *}" >/dev/null ||
        set -- with_llvm=no "$@"
    as_user make -s -C "$stage/src" PG_CONFIG="$bin/pg_config" "$@" \
        ${PG_CAS_MAKE:-}
}

# Build and install into the stage, with warnings for errors.  Fails with the
# compiler's output.
build() {
    in_group stage_make -j "$(nproc)" COPT=-Werror all \
        >"$stage/build.log" 2>&1 &&
        in_group stage_make COPT=-Werror install >>"$stage/build.log" 2>&1 ||
        { cat "$stage/build.log"; return 1; }
}

# start_server LINE...: start the stage's server, with these lines in its
# configuration, and point libpq's environment to it.  Trust is for those who
# reach the socket: its folder is the user's alone.
start_server() {
    export PGHOST=$stage/socket PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
    as_user initdb -D "$stage/data" -U postgres -A trust -N --no-locale \
        -E UTF8 >"$stage/initdb.log" 2>&1 ||
        { cat "$stage/initdb.log"; return 1; }
    as_user tee -a "$stage/data/postgresql.conf" >/dev/null <<END
listen_addresses = ''
unix_socket_directories = '$PGHOST'
port = $PGPORT
fsync = off
max_prepared_transactions = 10
log_line_prefix = '%m [%p] %q%a %e '
$(printf '%s\n' "$@")
END
    as_user pg_ctl start -s -w -D "$stage/data" -l "$stage/data/server.log" ||
        { cat "$stage/data/server.log"; return 1; }
}
