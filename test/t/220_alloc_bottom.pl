# Claim: at the bottom of a pool nobody waits for an idle transaction while
# something is free, however fast the others are in taking and giving back; and
# who asks for a unit of a pool that is full, and whose units are being swapped
# all the time, gets an answer.  What an old transaction keeps of the units that
# went and came back since is not gone through by every search.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('bottom', 'fsync = off', 'max_connections = 40',
	'max_prepared_transactions = 6');
my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $churn = "$PostgreSQL::Test::Utils::tmp_check/churn.sql";
append_to_file($churn, <<'SQL');
\set n random(1, 1000000000)
SELECT alloc_ip(:pool, md5(:client_id || ' ' || :n)::uuid);
SELECT alloc_release(:pool, md5(:client_id || ' ' || :n)::uuid);
SQL
my $swap = "$PostgreSQL::Test::Utils::tmp_check/swap.sql";
append_to_file($swap, <<'SQL');
BEGIN;
SELECT alloc_release('full', md5(:client_id::text)::uuid);
SELECT pg_sleep(0.01);
SELECT alloc_ip('full', md5(:client_id::text)::uuid);
COMMIT;
SQL

# nine units: an idle transaction has one, four sessions at most one each
foreach my $kind ('any', 'lowest', 'random', 'chunks')
{
	$node->safe_psql('postgres', $kind eq 'chunks'
		? "SELECT alloc_pool_create('chunks', '{10.0.0.0-10.0.0.8}', port_chunk => 32768)"
		: "SELECT alloc_pool_create('$kind', '{10.0.0.0-10.0.0.8}', strategy => '$kind')");
	$node->safe_psql('postgres',
		"BEGIN; SELECT alloc_ip('$kind', gen_random_uuid()); PREPARE TRANSACTION '$kind'");
	local $ENV{PGOPTIONS} = "-c lock_timeout=${timeout}s";
	$node->command_ok(
		[ 'pgbench', '-n', '-M', 'prepared', '-c', 4, '-t', 800, '-D', "pool=$kind",
			'-f', $churn, 'postgres' ],
		"nobody waits for who is idle while something is free: $kind");
}
is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'and the pools are sound');

# eight units, eight sessions that have one each and swap it
$node->safe_psql('postgres', q{SELECT alloc_pool_create('full', '{10.0.0.0-10.0.0.7}');
	SELECT count(alloc_ip('full', md5(n::text)::uuid)) FROM generate_series(0, 7) AS n});
my $swappers = IPC::Run::start(
	[ 'pgbench', '-n', '-M', 'prepared', '-c', 8, '-T', 1_000_000, '-f', $swap,
		$node->connstr('postgres') ], '<', \undef, '>', \my $out, '2>', \my $err);
$node->poll_query_until('postgres',
	"SELECT count(*) > 8 FROM pg_stat_activity WHERE backend_type = 'client backend'");
foreach my $n (1 .. 2)
{
	is( $node->safe_psql('postgres',
			"SET statement_timeout = '${timeout}s'; SELECT outcome FROM alloc_try_ip('full', gen_random_uuid())"),
		'exhausted', 'a full pool whose units are being swapped is exhausted');
}
$swappers->signal('KILL');
$swappers->finish;
unlike($err, qr/aborted|ERROR/, 'and the swappers are not disturbed');
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'");
is($node->safe_psql('postgres', 'SELECT count(*) FROM alloc_units; SELECT * FROM alloc_verify()'),
	'8', 'each has its unit');

# index entries that searches go through while the old transactions are there
sub entries
{
	my ($index) = @_;
	return $node->safe_psql('postgres',
		"SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = '$index'");
}
sub churn
{
	my ($kind, $n) = @_;
	$node->command_ok(
		[ 'pgbench', '-n', '-M', 'prepared', '-t', $n, '-D', "pool=$kind", '-f', $churn,
			'postgres' ], "$n units of $kind go and come back");
	return;
}
foreach my $kind ('any', 'lowest')
{
	churn($kind, 5000);
	my $before = entries('alloc_slot_queue');
	churn($kind, 100);
	cmp_ok(entries('alloc_slot_queue') - $before, '<', 100 * 40 + 5000, "old entries of $kind are passed once at most");
}
# in a pool of several sizes, those nearby are, but not all
$node->safe_psql('postgres', q{SELECT alloc_pool_create('wide', '{10.0.0.0/16}', port_chunk => 32768);
	SELECT alloc_ip('wide', gen_random_uuid())});
churn('wide', 5000);
my $before = entries('alloc_slot_pkey');
churn('wide', 100);
cmp_ok(entries('alloc_slot_pkey') - $before, '<', 100_000, 'nor does a search in a mixed pool');

# and a long block that begins before them all is found
is( $node->safe_psql('postgres', q{SELECT alloc_pool_create('long', '{10.0.0.0/16}', 'prefix', 'lowest');
	DO $$ BEGIN FOR i IN 0 .. 223 LOOP
		PERFORM alloc_prefix('long', md5(i::text)::uuid, 28,
			format('10.0.%s.%s/28', 112 + i / 16, i % 16 * 16)::cidr);
		PERFORM alloc_release('long', md5(i::text)::uuid);
	END LOOP; END $$;
	SELECT alloc_prefix('long', md5('a')::uuid, 17, '10.0.0.0/17');
	SELECT outcome FROM alloc_try_prefix('long', md5('b')::uuid, 24, '10.0.127.0/24');
	SELECT alloc_prefix('long', md5('c')::uuid, 24);
	SELECT * FROM alloc_verify('long')}),
	"\n10.0.0.0/17\ntaken\n10.0.128.0/24", 'a long block that begins before what was is seen');

# nor does a new session go through all that was ever taken, as two idle
# transactions have never-used units; which are there when they roll back
my $grow = "$PostgreSQL::Test::Utils::tmp_check/grow.sql";
append_to_file($grow, "SELECT alloc_ip('new', gen_random_uuid());\n");
$node->safe_psql('postgres', "SELECT alloc_pool_create('new', '{10.0.0.0-10.0.11.183}')");
foreach my $n (1, 2)
{
	$node->safe_psql('postgres',
		"BEGIN; SELECT alloc_ip('new', gen_random_uuid()) FROM generate_series(1, 2); PREPARE TRANSACTION 'new$n'");
	$node->command_ok([ 'pgbench', '-n', '-t', 1200, '-f', $grow, 'postgres' ], 'units are taken');
}
$before = entries('alloc_slot_pkey');
$node->safe_psql('postgres', "SELECT alloc_ip('new', gen_random_uuid())") foreach 1 .. 3;
cmp_ok(entries('alloc_slot_pkey') - $before, '<', 3 * 600, 'a new session knows where never-used units begin');
is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'what is pending is not lost');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'new$_'") foreach (1, 2);
is( $node->safe_psql('postgres', q{SELECT count(*) FROM generate_series(1, 3000) AS n,
	alloc_try_ip('new', md5(n::text)::uuid) WHERE outcome = 'allocated';
	SELECT allocated, free FROM alloc_usage('new')}),
	"597\n3000|0", '... and can be had after a rollback');

# what a rollback brings back is there
is( $node->safe_psql('postgres', q{BEGIN;
	SAVEPOINT s;
	DO $$ BEGIN FOR i IN 1 .. 300 LOOP
		PERFORM alloc_ip('lowest', md5(i::text)::uuid);
		PERFORM alloc_release('lowest', md5(i::text)::uuid);
	END LOOP; END $$;
	ROLLBACK TO s;
	SELECT count(*) FROM generate_series(1, 8) AS n, alloc_try_ip('lowest', md5(n::text)::uuid)
	WHERE outcome = 'allocated';
	COMMIT;
	SELECT * FROM alloc_verify()}), '8', 'what a rollback brings back can be had');

$node->safe_psql('postgres', "ROLLBACK PREPARED '$_'") foreach ('any', 'lowest', 'random', 'chunks');
$node->stop;
done_testing();
