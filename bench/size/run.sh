# shellcheck shell=bash
# size/run.sh: what a table weighs after a million changes, by 8 clients, and
# how many of its updates were HOT; without an old snapshot, then with one that
# is open for the first half.  Sourced by bench/run.

half() {
    local rate=()

    [ "$1" = 0 ] || rate=(-R $((total / 2 / $1)))
    PGOPTIONS='-c synchronous_commit=off' pgbench -n -M prepared -c 8 -j 2 \
        -t $((total / 2 / 8)) "${rate[@]}" -f "$root/bench/size/$2.sql" \
        >"$stage/tmp/pgbench.log" 2>&1 ||
        { cat "$stage/tmp/pgbench.log" >&2; die "size/$2 has failed"; }
}

# The table with its indexes, in MB.
weigh() {
    value "SELECT round(pg_total_relation_size('$1') / 1e6, 1)"
}

run_size() {
    local table=$out/size.md work relation snapshot before middle after past

    printf '%s\n' "| $total times, 8 clients | old snapshot | table | start | half | end | VACUUM | HOT |" \
        '|---|---|---|---|---|---|---|---|' >"$table"
    for snapshot in none 'for half'; do
        for work in pairs:alloc_slot swaps:sized; do
            relation=${work#*:} work=${work%:*}
            value "VACUUM ANALYZE" >/dev/null
            value "SELECT pg_stat_reset_single_table_counters('$relation'::regclass)" >/dev/null
            before=$(weigh "$relation") past=$(weigh alloc_past)
            if [ "$snapshot" = none ]; then
                half 0 "$work"
            else
                start_idle 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1'
                half "$hold" "$work"
                end_idle
            fi
            middle=$(weigh "$relation")
            half 0 "$work"
            after=$(weigh "$relation")
            value "VACUUM" >/dev/null
            value "SELECT '| $work | $snapshot | $relation | $before MB | $middle MB | $after MB | '
                || round(pg_total_relation_size(relid) / 1e6, 1) || ' MB | '
                || round(100.0 * n_tup_hot_upd / n_tup_upd, 1) || ' % |'
                FROM pg_stat_user_tables WHERE relid = '$relation'::regclass" >>"$table"
            [ "$work" != pairs ] ||
                echo "| its history | | alloc_past | $past MB | | $(weigh alloc_past) MB | | |" >>"$table"
            echo "size: $work, old snapshot $snapshot"
        done
    done
    cat "$table"
}
