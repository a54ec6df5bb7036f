# shellcheck shell=bash
# etcd/run.sh: a private etcd on the same disk, and swap.go on it and on the
# server, both through sockets; sourced by bench/run.

swap() {
    as_user sh -c 'cd tmp/etcd && exec "$@"' sh "$stage/tmp/swap" "$@" "$seconds"
}

run_etcd() {
    local urls=unix://etcd:1 peers=unix://etcd:2 etcd count round ours bench theirs

    as_user mkdir tmp/etcd
    as_user env GO111MODULE=off GOPATH=/usr/share/gocode \
        go build -o "$stage/tmp/swap" "$stage/src/bench/etcd/swap.go"
    as_user sh -c 'cd tmp/etcd && exec "$@"' sh etcd --data-dir data \
        --logger zap --log-level error \
        --listen-client-urls $urls --advertise-client-urls $urls \
        --listen-peer-urls $peers --initial-advertise-peer-urls $peers \
        --initial-cluster default=$peers >"$stage/tmp/etcd.log" 2>&1 &
    etcd=$!
    # shellcheck disable=SC2064
    trap "kill $etcd" EXIT
    until [ -S "$stage/tmp/etcd/etcd:1" ]; do
        kill -0 $etcd || { cat "$stage/tmp/etcd.log"; die "etcd does not run"; }
        sleep 0.2
    done

    for count in ${clients:-1 8 32}; do
        for ((round = 1; round <= rounds; round++)); do
            ours=$(swap pg_cas dbname=postgres "$count")
            theirs=$(swap etcd $urls "$count")
            bench=$(run etcd/update "$count" on)
            record etcd '"cas_update of small values, in Go"' \
                '"etcd, Txn on mod_revision, in Go"' "$count" on 3.0 "$round" "$ours" "$theirs"
            record etcd '"cas_update of small values, by pgbench"' \
                '"etcd, Txn on mod_revision, in Go"' "$count" on '' "$round" "$bench" "$theirs"
        done
        echo "etcd: $count clients"
    done
}
