# shellcheck shell=bash
# majors.sh: the major versions of PostgreSQL that pg_cas supports, and where each
# can be found.
#
# Sourced by bash scripts with set -euo pipefail.

# The same versions as in src/compat.h.
supported=(15 16 17 18)

# is_supported MAJOR
is_supported() {
    [[ " ${supported[*]} " == *" $1 "* ]]
}

# Print the Debian release that contains a major version.
suite_of() {
    case $1 in
        13) echo bullseye ;;
        15) echo bookworm ;;
        17) echo trixie ;;
        18) echo sid ;;
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

# Print the folders of the PostgreSQL versions that are installed in Debian's layout
# with their server headers, and supported, the newest first.  (pg_config and PGXS
# belong to other packages than the server.)
installed() {
    local dir

    for dir in $(ls -d /usr/lib/postgresql/* 2>/dev/null | sort -rV); do
        if is_supported "${dir##*/}" && [ -x "$dir/bin/postgres" ] &&
            [ -f "$("$dir/bin/pg_config" --includedir-server)/postgres.h" ]; then
            echo "$dir"
        fi
    done
}
