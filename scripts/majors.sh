# shellcheck shell=bash
# majors.sh: the major versions of PostgreSQL that pg_cas supports, and where each
# can be found.
#
# Sourced by bash scripts with set -euo pipefail.

# The same versions as in src/compat.h.
supported=(15 16 17 18 19)

# Print the folder for what takes long to make: builds, roots, machines, headers.
cache_folder() {
    echo "${PG_CAS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/pg_cas}"
}

# is_supported MAJOR
is_supported() {
    [[ " ${supported[*]} " == *" $1 "* ]]
}

# Print the Debian release that contains a major version.
suite_of() {
    case $1 in
        15) echo bookworm ;;
        17) echo trixie ;;
        18) echo sid ;;
        19) echo sid experimental ;;
        *)
            echo "no Debian release has PostgreSQL $1" >&2
            return 1
            ;;
    esac
}

# Print the major version of a PostgreSQL, by its pg_config.
major_of() {
    "$1" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/'
}

# headers_folder DIR: print where scripts/setup unpacks the server headers of the
# PostgreSQL in a folder, if they are not installed.  They must be of its minor version.
headers_folder() {
    echo "$(cache_folder)/headers/$(
        "$1/bin/pg_config" --version | cut -d ' ' -f 2)"
}

# headers_of DIR: print the folder that contains the server headers of the PostgreSQL
# in a folder.  Fails if there are none.
headers_of() {
    local include folder

    include=$("$1/bin/pg_config" --includedir-server)
    for folder in '' "$(headers_folder "$1")"; do
        if [ -f "$folder$include/postgres.h" ]; then
            echo "$folder$include"
            return
        fi
    done
    return 1
}

# Print the folders of the servers that are installed in Debian's layout and
# supported, the newest first.
servers() {
    local dir

    for dir in $(ls -d /usr/lib/postgresql/* 2>/dev/null | sort -rV); do
        if is_supported "${dir##*/}" && [ -x "$dir/bin/postgres" ]; then
            echo "$dir"
        fi
    done
}

# Print those of them for which there are headers.  (pg_config and PGXS belong to
# other packages than the server.)
installed() {
    local dir

    for dir in $(servers); do
        if headers_of "$dir" >/dev/null; then
            echo "$dir"
        fi
    done
}
