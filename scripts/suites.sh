# shellcheck shell=bash
# suites.sh: runs the suites of scripts/test, evaluates the results, and counts.
#
# Besides the results of the tests, every server's log is searched for faults
# (scripts/log-faults).  Each log with a fault counts as one failure.
#
# Sourced by scripts/test, after lib.sh.

passed=0
failed=0
summary=()

# Print the tests of a suite, in the same way as the Makefile finds them.
names() {
    (
        cd "$root"
        case $1 in
            regress) ls sql/*.sql | grep -ve -- -e /pg_cas_test ;;
            isolation) ls test/specs/*.spec test/points/specs/*.spec ;;
            tap) ls test/t/*.pl ;;
            unit) ls test/unit/*.c ;;
        esac 2>/dev/null | sed 's|.*/||; s|\.[a-z]*$||'
    ) || :
}

# Add the result of a suite: name, passed, failed, and a remark.
count() {
    passed=$((passed + $2))
    failed=$((failed + $3))
    summary+=("$(printf '%-10s %4d passed, %d failed%s' "$@")")
}

heading() {
    printf '\n== %s\n' "$*"
}

# Show a file that describes failures, if it exists.
show() {
    if [ -s "$1" ]; then
        heading "${1#"$stage"/src/}"
        cat "$1"
    fi
}

# log_is_clean TEST FILE [OFFSET]: fail if the log contains faults, and show them,
# with the stacks of processes that crashed.
log_is_clean() {
    local faults

    faults=$("$root/scripts/log-faults" "$@") && return
    heading "what should not be in ${2##*/}"
    printf '%s\n' "$faults"
    show_stacks
    return 1
}

# Show the stacks of processes that have left a core; each core is shown once.
show_stacks() {
    local core

    find "$stage" -type f -name 'core*' -size +100k 2>/dev/null |
        while read -r core; do
            heading "the stack of $(basename "$core")"
            if command -v gdb >/dev/null; then
                gdb -batch -nx -ex 'bt 40' "$bin/postgres" "$core" 2>&1 |
                    grep '^#' || :
            else
                echo 'gdb is not installed'
            fi
            rm -f "$core"
        done
}

log_size() {
    stat -c %s "$stage/data/server.log" 2>/dev/null || echo 0
}

# Count the tests that passed in the output of pg_regress, which differs between
# versions up to 15 and later ones.  The helpers, which make puts first, do not
# count.
count_ok() {
    grep -v ' pg_cas_test ' "$1" |
        grep -cE '^(test|  ) .* \.\.\. ok( |$)|^ok [0-9]+ ' || :
}

# pg_regress aborts at a test without an expected file.  With an empty file the
# test fails, and its output is shown.
expect_nothing() {
    local dir=$1 name

    shift
    as_user mkdir -p "$stage/src/$dir"
    for name; do
        [ -e "$stage/src/$dir/$name.out" ] || {
            echo "$dir/$name.out is missing"
            as_user touch "$stage/src/$dir/$name.out"
        }
    done
}

# Run make with its output in a log and on the screen, without the preliminaries
# of pg_regress and references to files that will be removed.
logged_make() {
    local log=$1

    shift
    stage_make "$@" 2>&1 | tee "$log" | grep --line-buffered -vE \
        -e '^(SET|((CREATE|ALTER|DROP) (DATABASE|EXTENSION)))$|^====|^$' \
        -e '^(\+\+\+|# \+\+\+|make:|\(using|# using) ?' \
        -e '^(# )?(The differences|file "|above is saved|A copy of)'
}

# run_pg_regress SUITE EXPECTED OUTPUT NAME...: run the tests of a suite, whose
# expected files and output are in these folders.
run_pg_regress() {
    local suite=$1 expected=$2 output=$stage/src${3:+/$3} log=$stage/$1.log
    local ok offset remark=${PGOPTIONS:+, with $PGOPTIONS}

    shift 3
    expect_nothing "$expected" "$@"
    case $suite in
        regress) set -- "$#" REGRESS="$*" ISOLATION= ;;
        isolation) set -- "$#" REGRESS= ISOLATION="$*" ;;
        points) set -- "$#" -C test/points ISOLATION="$*" ;;
    esac
    offset=$(log_size)
    in_group logged_make "$log" installcheck "${@:2}" || :
    ok=$(count_ok "$log")
    count "$suite" "$ok" $(($1 - ok)) "$remark"
    [ "$ok" = "$1" ] || show "$output/regression.diffs"
    log_is_clean "$suite" "$stage/data/server.log" "$offset" ||
        count "$suite" 0 1 ": the server's log"
}

run_regress() {
    if [ -n "$cancel" ]; then
        run_cancelled "$@"
    else
        on_both_paths regress expected '' "$@"
    fi
}

# The specs in test/points run last, because they need the module there.  What a
# major version says in other words is in test/majors/N.patch.
run_isolation() {
    local name specs=() points=()
    local words=$stage/src/test/majors/$(major_of "$bin/pg_config").patch

    if [ -f "$words" ]; then
        as_user patch -d "$stage/src" -p1 -s -N <"$words" >/dev/null || :
    fi
    for name; do
        if [ -e "$root/test/points/specs/$name.spec" ]; then
            points+=("$name")
        else
            specs+=("$name")
        fi
    done
    [ ${#specs[@]} = 0 ] ||
        on_both_paths isolation test/expected output_iso "${specs[@]}"
    [ ${#points[@]} = 0 ] || run_points "${points[@]}"
}

# Run the specs that need the module in test/points, which is built in the stage.
run_points() {
    if in_group stage_make -C test/points COPT=-Werror all install \
        >"$stage/points.log" 2>&1; then
        on_both_paths points test/points/expected test/points/output_iso "$@"
    else
        cat "$stage/points.log"
        count points 0 $# ': the module was not built'
    fi
}

# Run the tests of versioned rows a second time with the direct path turned off.
# The results must be the same.
on_both_paths() {
    local where=("${@:1:3}")

    run_pg_regress "$@"
    set -- $(printf '%s\n' "${@:4}" | grep -E '^(rights_)?cas([-_]|$)' || :)
    [ $# = 0 ] || PGOPTIONS='-c pg_cas.direct_path=off' \
        run_pg_regress "${where[@]}" "$@"
}

# Queries that must return nothing in any database: alloc_verify(), and a check of
# all indexes of the extension.
sound="
CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA pg_catalog;
SELECT 'alloc_verify', v::text FROM alloc_verify() AS v;
SELECT bt_index_check(i.indexrelid, true)
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refobjid = e.oid AND e.extname = 'pg_cas'
JOIN pg_index AS i ON i.indrelid = d.objid
JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relam = 403
WHERE d.refclassid = 'pg_extension'::regclass
    AND d.classid = 'pg_class'::regclass
    -- a cancelled REINDEX CONCURRENTLY leaves one that is not
    AND i.indisvalid;"

# Run the files of the regress suite, each in a database of its own, while their
# statements are cancelled at random.  Their output is not compared.
run_cancelled() {
    local name offset out seed=$cancel ok=0 faults

    for name; do
        printf '%-28s ... ' "cancelled $name"
        offset=$(log_size)
        faults=
        as_user psql -Xq -c 'DROP DATABASE IF EXISTS cancelled' \
            -c 'CREATE DATABASE cancelled TEMPLATE template0' 2>/dev/null
        as_user psql -Xq -d cancelled -c 'CREATE EXTENSION pg_cas'
        start_helper "$root/test/canceller.pl" "$stage/data" "$seed" \
            >"$stage/cancels" 2>&1
        seed=$((seed + 1))
        PGAPPNAME=pg_regress/$name in_group as_user timeout 600 psql -Xq \
            -d cancelled -f "$stage/src/sql/$name.sql" >/dev/null 2>&1 ||
            [ $? != 124 ] || faults='it hangs'
        stop_helpers
        out=$(as_user psql -XAtq -d cancelled -c "$sound" 2>&1 |
            grep -v '^$' || :)
        if log_is_clean "$name" "$stage/data/server.log" "$offset" &&
            [ -z "$out$faults" ]; then
            echo "ok    ($(wc -l <"$stage/cancels") cancels)"
            ok=$((ok + 1))
        else
            echo "FAILED, seed $((seed - 1))"
            echo "$faults$out"
        fi
    done
    count cancelled "$ok" $(($# - ok)) ", seeds from $cancel"
}

# Run the TAP tests, as many at a time as there are processors, each in a copy of the
# stage's sources.
run_tap() {
    local name ok not_ok skip oks=0 not_oks=0 skips=0

    mkdir "$stage/tap"
    printf '%s\n' "$@" >"$stage/tap/waiting"
    for name; do
        if [ ! -d "$stage/older" ] &&
            grep -q '^use PgCasOlder;' "$root/test/t/$name.pl"; then
            make_older || :
        fi
    done
    in_group tap_workers || :
    for name; do
        ok=0 not_ok=1 skip=0    # a test without a result has failed
        read -r ok not_ok skip <"$stage/tap/$name" || :
        oks=$((oks + ok)) not_oks=$((not_oks + not_ok)) skips=$((skips + skip))
    done 2>/dev/null
    rm -rf "$stage/tap"
    count tap "$oks" "$not_oks" "$([ "$skips" = 0 ] || echo ", $skips skipped")"
}

tap_workers() {
    local n

    for ((n = 1; n <= $(nproc); n++)); do
        tap_worker "$stage/src.$n" &
    done
    wait
}

# Run tests until none is waiting, in a copy of the sources.
tap_worker() {
    local tree=$1 name

    rm -rf "$tree"
    cp -a "$stage/src" "$tree"
    while name=$(next_test) && [ -n "$name" ]; do
        run_tap_test "$name" >"$tree.out" 2>&1
        cat "$tree.out"
    done
    [ -n "$keep" ] || rm -rf "$tree" "$tree.out" "$tree.log"
}

next_test() {
    flock "$stage/tap" sed -n -i '1w /dev/stdout
        1!p' "$stage/tap/waiting"
}

# Run a TAP test in $tree, and count its assertions in tap/NAME.  A file that fails
# without a failed assertion, because it crashed or ended early, counts as one failure.
run_tap_test() {
    local name=$1 log=$tree.log rc=0 oks not_oks skips file

    SECONDS=0
    # Even if the test has passed, a server may have left a core.
    PG_TEST_NOCLEAN=1 as_needed "$name" stage_make prove \
        PROVE_FLAGS=--verbose PROVE_TESTS="test/t/$name.pl" >"$log" 2>&1 || rc=$?
    skips=$(grep -cE '^ok [0-9]+.* # (skip|TODO)|^not ok .*# TODO| \.+ skipped: ' \
        "$log" || :)
    oks=$(grep -E '^ok [0-9]' "$log" | grep -cvE ' # (skip|TODO)' || :)
    not_oks=$(grep -E '^not ok [0-9]' "$log" | grep -cv ' # TODO' || :)
    if [ "$not_oks" = 0 ] && { [ "$rc" != 0 ] || [ $((oks + skips)) = 0 ]; }; then
        not_oks=1
    fi
    printf '%-28s ... ' "tap $name"
    if [ "$not_oks" = 0 ] && [ "$oks" = 0 ]; then
        sed -n 's/.* \.* skipped: /skipped: /p' "$log"
    elif [ "$not_oks" = 0 ]; then
        echo "ok    ($oks), $SECONDS s"
    else
        echo "FAILED"
        cat "$log"
        for file in "$tree"/tmp_check/log/*; do
            [ ! -s "$file" ] || {
                heading "the end of ${file##*/}"
                tail -n 60 "$file"
            }
        done
    fi
    for file in "$tree"/tmp_check/log/*.log; do
        log_is_clean "$name" "$file" || not_oks=$((not_oks + 1))
    done
    echo "$oks $not_oks $skips" >"$stage/tap/$name"
}

# as_needed NAME FUNCTION...: call the function, for this test.  A test that makes
# machines is run by root, if this script is.  Machines are kept with other things that
# take long to make.
as_needed() {
    local name=$1 status=0

    shift
    if [ "$(id -u)" = 0 ] &&
        grep -q '^use PgCasMachine;' "$root/test/t/$name.pl"; then
        chmod 755 "$tree"      # the users of a machine look into it
        PG_CAS_CACHE=$(cache_folder) \
            user=root "$@" || status=$?
        chown -R "$user:" "$tree"
        return $status
    fi
    "$@"
}

run_unit() {
    local name ok=0

    for name; do
        printf '%-28s ... ' "unit $name"
        if in_group stage_make unit UNIT_TESTS="$name" \
            >"$stage/unit.log" 2>&1; then
            echo ok
            ok=$((ok + 1))
        else
            echo FAILED
            cat "$stage/unit.log"
        fi
    done
    count unit "$ok" $(($# - ok)) ''
}
