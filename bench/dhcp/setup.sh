# shellcheck shell=bash
# dhcp/setup.sh: the tables and the procedure of Kea and FreeRADIUS, from Debian's
# packages, which are only unpacked, each in a schema of its own; sourced by bench/run.

# load SCHEMA FILE...: run these files in this schema.
load() {
    local schema=$1 file

    psql -qX -c "CREATE SCHEMA $schema" >/dev/null
    for file in "${@:2}"; do
        PGOPTIONS="-c search_path=$schema -c client_min_messages=warning" \
            psql -qX -v ON_ERROR_STOP=1 -f "$file" >/dev/null ||
            die "$(basename "$file") has failed"
    done
}

setup_dhcp() {
    local dir=$stage/tmp/dhcp package

    mkdir "$dir"
    for package in kea-admin freeradius-config; do
        (cd "$dir" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download \
            "$package" && dpkg-deb -x "$package"_*.deb .) ||
            die "part dhcp needs the package $package, which apt cannot download"
    done
    load kea "$dir/usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql"
    load radius "$dir"/etc/freeradius/3.0/mods-config/sql/ippool/postgresql/{schema,procedure}.sql
}
setup_dhcp
