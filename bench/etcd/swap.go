// swap: compare-and-swap of small values, on etcd or on PostgreSQL with
// pg_cas, by the same number of clients with a connection each.
//
//	swap etcd|pg_cas ADDRESS CLIENTS SECONDS
//
// A client has its own share of the keys, takes one at random, and writes a
// new value over the version that it knows from its last write.  Prints swaps
// per second.  A swap that is refused, or counts in the store that have not
// grown by what was swapped, are an error.
package main

import (
	"context"
	"fmt"
	"log"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v4"
	"go.etcd.io/etcd/clientv3"
)

const keys = 9600

var ctx = context.Background()

// A connection to a store, which has the keys already.
type store interface {
	// The version that a swap expects, for each key, and how often all of
	// them were written.
	versions() (map[string]int64, int64)
	// The new version.
	swap(key string, version int64, value string) int64
}

type etcd struct{ *clientv3.Client }

func openEtcd(address string) store {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{address}, DialTimeout: 10 * time.Second})
	check(err)
	return etcd{client}
}

func (c etcd) versions() (map[string]int64, int64) {
	answer, err := c.Get(ctx, "k", clientv3.WithPrefix())
	check(err)
	if len(answer.Kvs) == 0 {
		for i := 0; i < keys; i += 100 {
			var puts []clientv3.Op
			for j := i; j < i+100; j++ {
				puts = append(puts, clientv3.OpPut(key(j), value(0)))
			}
			_, err := c.Txn(ctx).Then(puts...).Commit()
			check(err)
		}
		return c.versions()
	}
	versions, writes := map[string]int64{}, int64(0)
	for _, kv := range answer.Kvs {
		versions[string(kv.Key)] = kv.ModRevision
		writes += kv.Version
	}
	return versions, writes
}

func (c etcd) swap(key string, version int64, value string) int64 {
	answer, err := c.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", version)).
		Then(clientv3.OpPut(key, value)).Commit()
	check(err)
	if !answer.Succeeded {
		log.Fatalf("%s does not have version %d", key, version)
	}
	return answer.Header.Revision
}

type postgres struct{ *pgx.Conn }

func openPostgres(address string) store {
	connection, err := pgx.Connect(ctx, address)
	check(err)
	return postgres{connection}
}

func (c postgres) versions() (map[string]int64, int64) {
	rows, err := c.Query(ctx, "SELECT id, resource_version FROM small")
	check(err)
	versions, writes := map[string]int64{}, int64(0)
	for rows.Next() {
		var key string
		var version int64
		check(rows.Scan(&key, &version))
		versions[key] = version
		writes += version
	}
	check(rows.Err())
	return versions, writes
}

func (c postgres) swap(key string, version int64, value string) (next int64) {
	check(c.QueryRow(ctx, "SELECT cas_update('small', $1::text, $2, $3)",
		key, version, value).Scan(&next))
	return
}

func key(i int) string { return fmt.Sprintf("k%d", i) }

func value(n int) string { return fmt.Sprintf(`{"n": %d}`, n) }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 {
		log.Fatal("usage: swap etcd|pg_cas ADDRESS CLIENTS SECONDS")
	}
	open := openEtcd
	if os.Args[1] == "pg_cas" {
		open = openPostgres
	}
	clients, err := strconv.Atoi(os.Args[3])
	check(err)
	seconds, err := strconv.ParseFloat(os.Args[4], 64)
	check(err)

	stores := make([]store, clients)
	for i := range stores {
		stores[i] = open(os.Args[2])
	}
	versions, before := stores[0].versions()
	swaps := make([]int64, clients)
	start := time.Now()
	end := start.Add(time.Duration(seconds * float64(time.Second)))
	var all sync.WaitGroup
	for i := range stores {
		known := map[string]int64{}
		for k := i; k < keys; k += clients {
			known[key(k)] = versions[key(k)]
		}
		all.Add(1)
		go func(i int) {
			defer all.Done()
			random := rand.New(rand.NewSource(time.Now().UnixNano() + int64(i)))
			for time.Now().Before(end) {
				k := key(random.Intn(keys/clients)*clients + i)
				known[k] = stores[i].swap(k, known[k], value(random.Int()))
				swaps[i]++
			}
		}(i)
	}
	all.Wait()
	took := time.Since(start).Seconds()

	total := int64(0)
	for _, n := range swaps {
		total += n
	}
	if _, after := stores[0].versions(); after-before != total {
		log.Fatalf("%d swaps, but %d writes", total, after-before)
	}
	fmt.Printf("%.1f\n", float64(total)/took)
}
