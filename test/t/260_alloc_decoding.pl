# Claim: whatever allocation writes can be decoded: a slot for logical replication in
# the same database goes on, and what it tells is what the tables contain.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('decoding', { allows_streaming => 'logical' }, 'fsync = off');
pg_cas_helpers($node, 'postgres');
$node->safe_psql('postgres', <<'SQL');
SELECT pg_create_logical_replication_slot('told', 'test_decoding'),
	pg_create_logical_replication_slot('published', 'pgoutput');
CREATE TABLE app (id int PRIMARY KEY);
CREATE PUBLICATION app FOR TABLE app;
SQL

# Each line is a transaction.
$node->safe_psql('postgres', <<'SQL');
SELECT alloc_pool_create('root', '{}', 'count', capacity => 100);
SELECT alloc_pool_create('above', '{}', 'count', capacity => 50, parent => 'root'), alloc_pool_create('below', '{}', 'count', capacity => 20, parent => 'above');
SELECT alloc_pool_create('int', '{0-99}', 'int', parent => 'above'), alloc_pool_create('net', '{10.0.0.0/24}', 'prefix', parent => 'root'), alloc_pool_create('ip', '{10.0.0.0/24}', port_chunk => 8192), alloc_pool_create('alone', '{}', 'count', capacity => 4);
SELECT alloc_count('alone', k(i)) FROM generate_series(1, 4) AS i;
SELECT alloc_release('alone', k(1)), alloc_release('alone', k(3)), alloc_count('alone', k(5), 2);
SELECT alloc_count('below', k(1), 2);
BEGIN; SELECT alloc_count('below', k(2), 3), alloc_count('above', k(2)), alloc_count('root', k(2), 4); SAVEPOINT s; SELECT alloc_count('below', k(3)); ROLLBACK TO s; COMMIT;
SELECT alloc_int('int', k(1)), alloc_int('int', k(2), consecutive => 5), alloc_prefix('net', k(1), 26), alloc_ip('ip', k(1)), alloc_ports('ip', k(2)), alloc_ip('ip', k(3), consecutive => 4);
SELECT count(*) FROM alloc_set('[{"pool": "below", "n": 2}, {"pool": ["int", "ip"]}, {"pool": "net", "masklen": 28}]', k(7));
SELECT count(*) FROM alloc_many('below', ARRAY[k(8), k(9)]); SELECT count(*) FROM alloc_many('ip', ARRAY[k(8), k(9)]);
SELECT count(*) FROM alloc_many('int', ARRAY(SELECT k(i) FROM generate_series(10, 19) AS i));
SELECT alloc_resize('below', k(1), 4), alloc_resize('below', k(2), 1), alloc_move('below', k(7), k(20)), alloc_annotate('int', k(1), '{"a": 1}');
SELECT alloc_renew('below', k(1), '1 day'), alloc_renew('int', k(2), '1 day'), alloc_release('below', k(8), cooldown => '1 h');
SELECT count(*) FROM alloc_import('int', '[{"value": "90", "name": "x"}, {"value": "91", "name": "y"}]');
SELECT alloc_release_many('int', ARRAY(SELECT k(i) FROM generate_series(10, 15) AS i)), alloc_release('ip', k(3));
SELECT alloc_pool_set('root', capacity => 10), alloc_reserve('int', '50-59'), alloc_pool_grow('int', '200-209');
SELECT alloc_try_count('below', k(30)), alloc_int('int', k(2), consecutive => 5);
SELECT alloc_pool_set('root', capacity => 100), alloc_rebuild('below'); SELECT alloc_count('below', k(30), 2);
SELECT count(alloc_pool_create('m' || i, '{0-99}', 'int')) FROM generate_series(1, 4) AS i;
SELECT alloc_int('m2', k(40)), alloc_int('m1', k(42));
SELECT count(*) FROM alloc_set('[{"pool": "m1"}, {"pool": "m2"}, {"pool": "m3"}, {"pool": "m4"}]', k(40));
SELECT count(*) FROM alloc_many('m1', ARRAY(SELECT k(i) FROM generate_series(39, 60) AS i));
SELECT alloc_pool_create('low', '{10.0.0.0/16}', 'prefix', 'lowest', parent => 'root');
SELECT count(*) FROM alloc_many('low', ARRAY(SELECT k(i) FROM generate_series(61, 70) AS i), 24);
SELECT alloc_release('low', k(62)), alloc_release('low', k(64)), alloc_release('low', k(66));
SELECT alloc_prefix('low', k(71), 25), alloc_prefix('low', k(72), 24), alloc_prefix('low', k(73), 25, ttl => '1 us');
SELECT alloc_release('low', k(71));
BEGIN; SAVEPOINT s; SELECT alloc_prefix('low', k(74), 23); ROLLBACK TO s; SELECT alloc_prefix('low', k(75), 24); COMMIT;
INSERT INTO app VALUES (1);
SQL
is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'the pools are sound');

foreach my $table ('alloc_slot', 'alloc_freed', 'alloc_share', 'alloc_gap')
{
	is($node->safe_psql('postgres', <<SQL), 't', "$table: what was told is there");
SELECT (SELECT count(*) FROM cas_internal.$table)
	= count(*) FILTER (WHERE data ~ ': INSERT:') - count(*) FILTER (WHERE data ~ ': DELETE:')
FROM pg_logical_slot_peek_changes('told', NULL, NULL) WHERE data ~ '^table cas_internal.$table:'
SQL
}
is($node->safe_psql('postgres', <<'SQL'), 0, 'no unit is told that was written in vain');
SELECT count(*) FROM (
	SELECT FROM pg_logical_slot_peek_changes('told', NULL, NULL) WHERE data ~ '^table cas_internal.alloc_slot:'
	GROUP BY xid::text, substring(data from 'pool\[integer\]:\d+ first_slot\[numeric\]:\d+')
	HAVING bool_or(data ~ ': INSERT:') AND bool_or(data ~ ': DELETE:')) AS t
SQL
cmp_ok($node->safe_psql('postgres', <<'SQL'), '>', 0, 'and a publication goes on');
SELECT count(*) FROM pg_logical_slot_get_binary_changes('published', NULL, NULL,
	'proto_version', '1', 'publication_names', 'app')
SQL
$node->stop;

done_testing();
