# shellcheck shell=bash
# lib.sh: private folder and servers for each run of scripts/test and
# scripts/demo.
#
# Nothing is built in the checkout, and nothing is installed into the system's
# PostgreSQL.  Each run has a private folder, the stage:
#
#   pg/      a copy of the PostgreSQL installation.  PostgreSQL finds its files
#            relative to its programs, so pg_config, PGXS and the server of the
#            copy use the copy, and "make install" installs into it.
#   src/     a copy of the checkout, including uncommitted changes, built there
#   data/    a server; its socket is in socket/ and it does not listen on TCP,
#            so no port can be taken
#
# These folders belong to an unprivileged user, and only that user can enter
# them.  It is the caller, unless that is root, whom PostgreSQL refuses.  Then it
# is a system user, who needs no access to the checkout.  On exit, for whatever
# reason, everything that was started is stopped and the stage is removed.  Other
# runs have other stages.  If a script defines a function on_leave, this is called
# with the exit status after that.
#
# Sourced by bash scripts with set -euo pipefail.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/majors.sh"
stage=          # the folder, once it has been created
job=            # the process group of what is running
helpers=()      # the process groups of what runs beside it
bin=            # the private PostgreSQL's programs

# Ignore the caller's settings for other servers and for make.  Only PG_CONFIG
# and variables that begin with PG_CAS_ or PG_TEST_ are meant for us.
for name in ${!PG*}; do
    case $name in
        PG_CAS_* | PG_TEST_* | PG_CONFIG) ;;
        *) unset "$name" ;;
    esac
done
unset name MAKEFLAGS MFLAGS MAKELEVEL TESTDIR CDPATH
export LC_ALL=C.UTF-8 LANG=C.UTF-8 TZ=UTC

# A report of a sanitizer ends the process.  Leaks are not reported, because
# PostgreSQL's programs do not free their memory before they end.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:disable_coredump=0
export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
umask 022

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Determine the user that owns the stage, and create it if necessary.
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

# Run a function or command in a process group of its own, so that a signal that
# ends this script also ends all of its processes at once.
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

# Run a command in the background until the script ends, or stop_helpers is called.
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

# Stop all servers of the stage, by the process ids in their postmaster.pid.
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

# Create the stage's folder in a place where that user can run programs, with a
# path that is short enough for a socket.
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

# Print the pg_config of the PostgreSQL to copy: the caller's choice, or the
# newest one that is supported and has server headers.
find_pg_config() {
    local found major

    if [ -n "${PG_CONFIG:-}" ]; then
        found=$(command -v "$PG_CONFIG") ||
            die "PG_CONFIG=$PG_CONFIG is no program"
    else
        found=$(installed | sed -n 1p)
        found=${found:+$found/bin/pg_config}
        [ -n "$found" ] || found=$(command -v pg_config) ||
            die "no pg_config; pg_cas needs PostgreSQL ${supported[*]}"
    fi
    major=$(major_of "$found")
    is_supported "$major" ||
        die "pg_cas needs PostgreSQL ${supported[*]}; $found is of $major"
    echo "$found"
}

# make_copies PG_CONFIG: copy that PostgreSQL and the checkout into the stage, and
# set bin.
make_copies() {
    local dirs from objects=() i

    mapfile -t dirs < <("$1" --bindir --sharedir --pkglibdir \
        --includedir-server --libdir)

    # If PostgreSQL is installed in a folder of its own, libpq is there, too.
    [ "${dirs[4]}" = "$(dirname "${dirs[0]}")/lib" ] || unset 'dirs[4]'
    mkdir -m 700 "$stage"/{pg,src,data,socket,tmp}
    for i in "${!dirs[@]}"; do
        from=${dirs[$i]}
        [ "$i" != 3 ] || from=$(headers_of "$(dirname "${dirs[0]}")") ||
            die "the server headers of $1 are missing"
        mkdir -p "$stage/pg${dirs[$i]}"
        cp -a --reflink=auto "$from/." "$stage/pg${dirs[$i]}"
    done
    bin=$stage/pg${dirs[0]}
    [ "$("$bin/pg_config" --sharedir)" = "$stage/pg${dirs[1]}" ] ||
        die "the PostgreSQL of $1 does not work from another folder"

    # Objects in the checkout may have been built for another PostgreSQL.  Only
    # a test that runs a script in its own stage can tell that they were not.
    [ -n "${PG_CAS_KEEP_OBJECTS:-}" ] ||
        objects=(--exclude='*.o' --exclude='*.bc' --exclude='*.so')
    # what cannot be written here has to be writable there
    tar -C "$root" -cf - --mode=u+w --exclude=./.git --exclude=./tmp_check \
        --exclude=./results --exclude=./output_iso \
        --exclude='./regression.*' "${objects[@]}" . |
        tar -C "$stage/src" -xf - --no-same-owner
    chown -R "$user:" "$stage"/{pg,src,data,socket,tmp}
}

# Create the stage with both copies.
make_stage() {
    local pg_config

    make_user
    make_folder
    pg_config=$(find_pg_config)
    make_copies "$pg_config"
    PATH=$bin:$PATH
}

# Print the pg_config of an older PostgreSQL than the stage's: the caller's choice, or
# the oldest one that is supported and has server headers, if there is one.
find_older() {
    local found=${PG_CAS_OLDER:-}

    if [ -z "$found" ]; then
        found=$(installed | sed -n '$p')
        found=${found:+$found/bin/pg_config}
    fi
    [ -z "$found" ] ||
        [ "$(major_of "$found")" -ge "$(major_of "$bin/pg_config")" ] ||
        echo "$found"
}

# Provide pg_cas for that PostgreSQL as well, in a stage inside of the stage, and let
# PG_CAS_OLDER be its pg_config there.
make_older() {
    local found

    found=$(find_older)
    unset PG_CAS_OLDER
    [ -n "$found" ] || return 0
    PG_CAS_OLDER=$(
        stage=$stage/older
        mkdir -m 755 "$stage"
        PG_CAS_KEEP_OBJECTS='' make_copies "$found" >&2
        echo "$bin/pg_config"
    ) || return
    export PG_CAS_OLDER
    in_group build_older >"$stage/older.log" 2>&1 || {
        cat "$stage/older.log"
        return 1
    }
}

# A newer compiler takes the headers for C23, which they are not.
build_older() {
    stage=$stage/older
    bin=$(dirname "$PG_CAS_OLDER")
    stage_make -j "$(nproc)" COPT=-std=gnu17 all &&
        stage_make COPT=-std=gnu17 install
}

# Run make in the stage's copy of the checkout, or a copy of that, $tree, with the
# arguments in PG_CAS_MAKE.
stage_make() {
    local clang

    # no bitcode without the compiler for it
    clang=$(sed -n 's/^CLANG[[:space:]]*=[[:space:]]*//p' \
        "$(dirname "$("$bin/pg_config" --pgxs)")/../Makefile.global")
    [ -z "$clang" ] || command -v "${clang%% *}" >/dev/null ||
        set -- with_llvm=no "$@"
    as_user make -s -C "${tree:-$stage/src}" PG_CONFIG="$bin/pg_config" "$@" \
        ${PG_CAS_MAKE:-}
}

# Build and install into the stage, with warnings treated as errors.  If this
# fails, print the output of the compiler.
build() {
    in_group stage_make -j "$(nproc)" COPT=-Werror all \
        >"$stage/build.log" 2>&1 &&
        in_group stage_make COPT=-Werror install >>"$stage/build.log" 2>&1 ||
        { cat "$stage/build.log"; return 1; }
}

# start_server LINE...: start the stage's server with these lines in its
# configuration, and set the environment of libpq accordingly.  The authentication
# method is trust, since only the user can enter the socket's folder.
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
