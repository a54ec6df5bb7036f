# Fences never fall or repeat, and granted leases stay granted, whatever
# becomes of the server: an immediate stop, a standby promoted, a dump restored.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('crash', { allows_streaming => 1 },
	'synchronous_commit = off', 'wal_writer_delay = 10s', 'autovacuum = off',
	'max_prepared_transactions = 5');

sub fence
{
	my ($server, $end) = @_;
	my $fences = $server->safe_psql('postgres',
		"BEGIN; SELECT max(fence) FROM lock_acquire('{a,b,c}'); $end");
	return (split /\n/, $fences)[0];
}

# Neither a commit that was not flushed nor a rollback lets a number come back.
my $last = 0;
foreach my $end ('COMMIT', 'ROLLBACK', 'COMMIT')
{
	my $fence;

	# up to where a sequence writes ahead, and beyond
	$fence = fence($node, $end) foreach 1 .. 12;
	cmp_ok($fence, '>', $last, "larger than all before ($end)");
	$last = $fence;
	$node->stop('immediate');
	$node->start;
	$fence = fence($node, 'ROLLBACK');
	cmp_ok($fence, '>', $last, "larger after a crash ($end)");
	$last = $fence;
}

# Numbers are logged many at a time, and again after a checkpoint, because the WAL
# before it is not replayed.
$node->safe_psql('postgres', q{
	CREATE EXTENSION pageinspect;
	CREATE FUNCTION logged() RETURNS pg_lsn LANGUAGE sql AS $$
		SELECT lsn FROM page_header(get_raw_page('cas_internal.lock_fence', 0)) $$;
	-- the last of so many fences, of holders that are all rolled back
	CREATE FUNCTION draw(calls int) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		last bigint;
	BEGIN
		FOR i IN 1 .. calls LOOP
			BEGIN
				SELECT fence INTO last FROM lock_acquire('{a}');
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN
			END;
		END LOOP;
		RETURN last;
	END $$;});
is( $node->safe_psql('postgres', q{
		SELECT count(DISTINCT logged())
		FROM (SELECT draw(1) FROM generate_series(1, 1000)) AS d}),
	'1', 'a thousand numbers are logged at once');
foreach my $draws ('SELECT draw(2000)', 'SELECT draw(1); CHECKPOINT; SELECT draw(1)')
{
	$last = (split /\n/, $node->safe_psql('postgres', $draws))[-1];
	$node->stop('immediate');
	$node->start;
	my $fence = $node->safe_psql('postgres', 'SELECT draw(1)');
	cmp_ok($fence, '>', $last, "larger after a crash ($draws)");
	$last = $fence;
}

# For a number is on disk when it is told, not only when its transaction commits.  The
# first number after a checkpoint is logged.
foreach my $call (q{SELECT count(*) FROM lock_acquire('{a}')}, 'SELECT lock_fence_advance(1)')
{
	my $out = $node->safe_psql('postgres', qq{
		CHECKPOINT; BEGIN; $call;
		SELECT pg_current_wal_flush_lsn() >= logged(); ROLLBACK});

	is((split /\n/, $out)[-1], 't', "$call: the number is on disk");
}
$node->safe_psql('postgres',
	'DROP FUNCTION draw; DROP FUNCTION logged; DROP EXTENSION pageinspect');

# A transaction that has only locked has nothing to lose, and commits without
# waiting for the disk; one that has written as well waits, whatever came first.
$node->safe_psql('postgres', 'CREATE TABLE written (n int)');
sub flushed
{
	my ($statements) = @_;
	my $walwriter = $node->safe_psql('postgres',
		q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});

	kill 'STOP', $walwriter;		# it flushes what commits leave
	my $lsns = $node->safe_psql('postgres', qq{
		SET synchronous_commit = on;
		-- the first look at a page of a catalog may prune it, which is a write
		BEGIN; $statements; ROLLBACK;
		BEGIN; $statements; SELECT pg_current_wal_insert_lsn(); COMMIT;
		SELECT pg_current_wal_flush_lsn()});
	kill 'CONT', $walwriter;
	my ($insert, $flush) = (split /\n/, $lsns)[ -2, -1 ];

	return $node->safe_psql('postgres', "SELECT '$flush'::pg_lsn > '$insert'");
}
my $lock = q{SELECT count(*) FROM lock_acquire('{a,b}')};
is(flushed($lock), 'f', 'locking alone is not waited for');
is(flushed("$lock; INSERT INTO written VALUES (1)"), 't',
	'writing after locking is');
is(flushed("INSERT INTO written VALUES (2); $lock"), 't',
	'writing before locking is');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM written'), '2',
	'what was written under a lock is there after a crash');
$last = fence($node, 'ROLLBACK');

# Names that are free cost one WAL record each: their rows are written, and not
# locked first.
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_walinspect;
	BEGIN; SELECT count(fence) FROM lock_acquire('{a,b,c,d,e,f,g,h}'); COMMIT;
	CHECKPOINT});
my $from = $node->lsn('insert');
my $xid = (split /\n/, $node->safe_psql('postgres', q{
	BEGIN; SELECT count(fence) FROM lock_acquire('{a,b,c,d,e,f,g,h}');
	SELECT pg_current_xact_id()::xid; COMMIT; CHECKPOINT}))[1];
my $to = $node->lsn('flush');
is( $node->safe_psql('postgres', qq{
		SELECT string_agg(record_type || ' ' || count, ', ' ORDER BY record_type)
		FROM (SELECT record_type, count(*) AS count
			  FROM pg_get_wal_records_info('$from', '$to')
			  WHERE xid = '$xid' AND resource_manager LIKE 'Heap%' GROUP BY 1) AS r}),
	'HOT_UPDATE 8', 'a record for each free name');
$node->safe_psql('postgres', 'DROP EXTENSION pg_walinspect');

# A lease is on disk when its fence is told, though synchronous_commit is off.
my $lease = $node->safe_psql('postgres', q{SELECT lease_acquire('job', 'one', '1h')});
$node->stop('immediate');
$node->start;
is( $node->safe_psql('postgres',
		q{SELECT fence, holder, expired FROM lease_holders}),
	"$lease|one|f", 'the lease survives a crash');
is($node->safe_psql('postgres', "SELECT lease_guard('job', $lease)"), '',
	'and its fence is good');

# A prepared transaction keeps its locks over a crash.
$node->safe_psql('postgres',
	q{BEGIN; SELECT lock_acquire('{p}', '{q}'); PREPARE TRANSACTION 'p'});
$node->stop('immediate');
$node->start;
is( $node->safe_psql('postgres',
		'SELECT name, mode, pid FROM lock_holders ORDER BY name'),
	"p|exclusive|\nq|shared|", 'a prepared transaction holds its locks');
my ($ret, $out, $err) =
  $node->psql('postgres', q{BEGIN; SELECT lock_acquire('{p}', wait => '0')});
like($err, qr/could not obtain/, 'and keeps others off');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'p'});

# Names are made by themselves: however many transactions that made some are
# lost, the table and its index say the same.
$node->safe_psql('postgres', q{
	BEGIN;
	SELECT count(*) FROM lock_acquire((SELECT array_agg('n' || i) FROM generate_series(1, 1000) AS i));
	ROLLBACK});
my $backend = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', q{
	BEGIN; SELECT count(*) FROM lock_acquire((SELECT array_agg('m' || i) FROM generate_series(1, 1000) AS i));
	SELECT pg_switch_wal(); SELECT pg_sleep(100)} ], '<', \undef, '>', \my $o, '2>', \my $e);
$node->poll_query_until('postgres', q{SELECT count(*) = 1000 FROM lock_holders})
  or die 'no holder';
$node->stop('immediate');
$backend->finish;
$node->start;
my $count = "SELECT count(*), count(DISTINCT name) FROM cas_internal.lock_name WHERE name >= ''";
is( $node->safe_psql('postgres', "SET enable_seqscan = off; SET enable_bitmapscan = off; $count"),
	$node->safe_psql('postgres', "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off; $count"),
	'the table and its index say the same');
is( $node->safe_psql('postgres',
		'BEGIN; SELECT count(fence) FROM lock_acquire((SELECT array_agg(name) FROM cas_internal.lock_name)) HAVING count(fence) >= 1000; COMMIT') =~ /^\d+$/ ? 1 : 0,
	1, 'every name can be locked');
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
is($node->safe_psql('postgres', q{SELECT bt_index_check('cas_internal.lock_name_pkey', true)}),
	'', 'the index is sound');
is($node->safe_psql('postgres', q{SELECT * FROM verify_heapam('cas_internal.lock_name')}),
	'', 'and so is the table');

# A standby reads and does not write; promoted, it goes on with larger fences.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$last = fence($node, 'COMMIT');
$node->safe_psql('postgres', q{
	BEGIN; SELECT lock_acquire('{on the primary}'); PREPARE TRANSACTION 'p';
	SELECT pg_switch_wal()});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
foreach my $call (q{lock_acquire('{a}')}, q{lease_acquire('x', 'y', '1h')},
	q{lease_guard('job', 1)}, q{lock_fence_advance()}, q{pg_cas_reap()})
{
	($ret, $out, $err) = $standby->psql('postgres',
		"\\set VERBOSITY sqlstate\nBEGIN; SELECT $call");
	like($err, qr/25006/, "on a standby: $call");
}
is( $standby->safe_psql('postgres', 'SELECT name, mode, pid FROM lock_holders'),
	'on the primary|exclusive|', 'a standby sees holders');
is( $standby->safe_psql('postgres', 'SELECT name, fence FROM lease_holders'),
	"job|$lease", 'and leases');
$node->stop('immediate');
$standby->promote;
cmp_ok(fence($standby, 'COMMIT'), '>', $last, 'promoted');
($ret, $out, $err) = $standby->psql('postgres',
	q{BEGIN; SELECT lock_acquire('{on the primary}', wait => '0')});
like($err, qr/could not obtain/, 'what was prepared is held');
$standby->safe_psql('postgres', q{ROLLBACK PREPARED 'p'});

# A dump carries protection, leases and fences along.
$standby->safe_psql('postgres', q{
	CREATE TABLE package (repo text);
	SELECT lock_protect('package', 'repo:{repo}')});
$last = fence($standby, 'COMMIT');
foreach my $format ('custom', 'plain')
{
	my $file = $standby->basedir . "/dump.$format";

	$standby->command_ok([ 'pg_dump', '-F', $format, '-f', $file, 'postgres' ],
		"dumped, $format");
	$standby->safe_psql('postgres', "CREATE DATABASE $format");
	$standby->command_ok($format eq 'plain'
		? [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $format, '-f', $file ]
		: [ 'pg_restore', '-e', '-d', $format, $file ], "restored, $format");
	($ret, $out, $err) =
	  $standby->psql($format, q{INSERT INTO package VALUES ('a')});
	like($err, qr/requires the exclusive lock on "repo:a"/, "protected, $format");
	is($standby->safe_psql($format, "SELECT lease_guard('job', $lease)"),
		'', "the lease, $format");
	cmp_ok((split /\n/, $standby->safe_psql($format,
			q{BEGIN; SELECT max(fence) FROM lock_acquire('{a}'); COMMIT}))[0],
		'>', $last, "fences go on, $format");
}
($ret, $out, $err) = $standby->psql('plain', 'DROP EXTENSION pg_cas');
like($err, qr/trigger lock_protect on table package depends on/,
	'DROP EXTENSION names the protected table');
$standby->safe_psql('plain', q{DROP EXTENSION pg_cas CASCADE; INSERT INTO package VALUES ('a')});

$standby->stop;
done_testing();
