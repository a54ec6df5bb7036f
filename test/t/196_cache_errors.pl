# Claim: an error at any step of reading what a session keeps about tables, types,
# pools, locks and requests leaves nothing behind in the session.
#
# A session makes each call while another one has locked one catalog or table of the
# extension, so that the call fails wherever it reads that, or does not need it.
# Then the same session repeats the call, and must get the answer of a session that
# nobody has disturbed.  PG_CAS_LONG=1 tries all catalogs, with a new session for
# each call.
use strict;
use warnings;

use PgCas;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main', 'autovacuum = off', 'fsync = off');
my ($there) = $node->safe_psql('postgres',
	q{SELECT count(*) FROM pg_available_extensions WHERE name IN ('citext', 'hstore')});
plan skip_all => 'needs citext and hstore' if $there < 2;

pg_cas_helpers($node, 'postgres');
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION citext;
CREATE EXTENSION hstore;
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE FUNCTION again(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 || '{"n": 9}' $$;
CREATE FUNCTION work(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"done": true}'::jsonb $$;
CREATE FUNCTION nop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
DO $$
BEGIN
	FOR i IN 1 .. 8 LOOP
		EXECUTE format('CREATE TABLE t%s (id citext PRIMARY KEY, h hstore, p pair, n small)', i);
		EXECUTE format('CREATE TRIGGER nop BEFORE UPDATE ON t%s FOR EACH ROW EXECUTE FUNCTION nop()', i);
		PERFORM cas_enable(format('t%s', i)::regclass);
		EXECUTE format($q$INSERT INTO t%s VALUES ('A', 'x => 1', '(1,one)', 1)$q$, i);
	END LOOP;
END $$;
CREATE TABLE guarded (n int);
SELECT lock_protect('guarded', 'guarded');
SELECT alloc_pool_create('ip', '{10.0.0.7-10.0.0.7}'), alloc_pool_create('ports', '{10.0.0.7-10.0.0.7}', port_chunk => 32768),
	alloc_pool_create('prefix', '{10.0.0.0/30}', 'prefix'), alloc_pool_create('int', '{7-7}', 'int', 'lowest'),
	alloc_pool_create('mac', '{02:00:00:00:00:07-02:00:00:00:00:07}', 'mac'),
	alloc_pool_create('mac8', '{02:00:00:00:00:00:00:07-02:00:00:00:00:00:00:07}', 'mac8'),
	alloc_pool_create('above', '{}', 'count', capacity => 3),
	alloc_pool_create('count', '{}', 'count', capacity => 2, parent => 'above'),
	alloc_pool_create('set', '{7-7}', 'int');
SQL

# The calls, each in a transaction that is rolled back.
my $payload = q{{"h": "\"y\"=>\"2\"", "p": {"a": 2, "b": "two"}, "n": 2}};
my @calls = (
	[ 'cas_get', q{SELECT version, payload FROM cas_get('t1', 'a')} ],
	[ 'cas_put', qq{SELECT cas_put('t2', 'B', '$payload'), cas_put('t2', 'a', '{"n": 3}')} ],
	[ 'cas_update', qq{SELECT cas_update('t3', 'a', 1, '$payload')} ],
	[ 'cas_apply', q{SELECT cas_apply('t4', 'a', 'again(jsonb, jsonb)')} ],
	[ 'cas_txn', qq{SELECT cas_txn('[{"table": "t5", "id": "a", "version": 1}]',
		'[{"op": "update", "table": "t5", "id": "a", "payload": $payload}, {"op": "put", "table": "t6", "id": "B", "payload": {"n": 4}}]')} ],
	[ 'plain', q{UPDATE t7 SET n = 5 WHERE id = 'a' RETURNING resource_version} ],
	[ 'cas_lock', q{SELECT version FROM cas_lock('t8', '{a}'::text[])} ],
	[ 'cas_enable', q{SELECT cas_enable('t8', writers => 'echo'); UPDATE t8 SET n = 5 RETURNING resource_version} ],
	[ 'alloc_ip', q{SELECT outcome, value FROM alloc_try_ip('ip', k(1))} ],
	[ 'alloc_ports', q{SELECT outcome FROM alloc_try_ports('ports', k(1))} ],
	[ 'alloc_prefix', q{SELECT outcome, value FROM alloc_try_prefix('prefix', k(1), 30)} ],
	[ 'alloc_int', q{SELECT outcome, value FROM alloc_try_int('int', k(1)); SELECT alloc_release('int', k(1)) IS NULL} ],
	[ 'alloc_mac', q{SELECT outcome, value FROM alloc_try_mac('mac', k(1))} ],
	[ 'alloc_mac8', q{SELECT outcome, value FROM alloc_try_mac8('mac8', k(1))} ],
	[ 'alloc_count', q{SELECT outcome FROM alloc_try_count('count', k(1), 2)} ],
	[ 'alloc_set', q{SELECT count(*) FROM alloc_set('[{"pool": "set"}, {"pool": "above", "n": 1}]', k(1))} ],
	[ 'lock_protect', q{SELECT lock_acquire('{guarded}') IS NULL; INSERT INTO guarded VALUES (1); SELECT lock_unprotect('guarded'), lock_protect('guarded', 'other')} ],
	[ 'lock_acquire', q{SELECT name, mode, fence IS NULL FROM lock_acquire('{a,b}', '{c}')} ],
	[ 'request_begin', q{SELECT state FROM request_begin('s', 'k', '{}'); SELECT request_done('s', 'k', '{}')} ],
	[ 'request_once', q{SELECT request_once('s', 'once', '{}', 'work(jsonb)')} ],
	[ 'lease', q{SELECT lease_acquire('lease', 'me', '1 hour', wait => '1 day') > 0} ]);

# A lease cannot be acquired inside a transaction block.
sub call
{
	my ($session, $call) = @_;
	my ($name, $sql) = @$call;
	return $session->ask($name eq 'lease' ? "$sql;" : "BEGIN; $sql; ROLLBACK;");
}

my %expected;
my $session = PgCasSession->start($node, 'postgres');
foreach my $call (@calls)
{
	my $answer = $expected{ $call->[0] } = call($session, $call);
	unlike($answer, qr/ERROR/, "$call->[0]: undisturbed");
}
$session->stop;

my @own = map { "cas_internal.$_" } split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT relname FROM pg_class WHERE relnamespace = 'cas_internal'::regnamespace AND relkind = 'r' ORDER BY 1
SQL
my @catalogs = map { "pg_catalog.$_" } @{ long_or(
	[ qw(pg_proc pg_type pg_class pg_attribute pg_index pg_constraint pg_trigger
		  pg_opclass pg_amop pg_amproc pg_operator pg_cast pg_namespace pg_authid pg_extension) ],
	[ split /\n/, $node->safe_psql('postgres',
			q{SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' ORDER BY 1}) ]) };

# With each lock the calls come in another order, so that each of them is sometimes
# the first one of its session.
my $locker = PgCasSession->start($node, 'postgres');
my (%failed, @wrong);
my $first = 0;
foreach my $relation (@catalogs, @own)
{
	my @order = map { $calls[ ($first + $_) % @calls ] } 0 .. $#calls;

	$session = undef;
	foreach my $call (@order)
	{
		if (!$session)
		{
			$session = PgCasSession->start($node, 'postgres');
			$session->ask(q{SET lock_timeout = '20ms';});
		}
		$locker->ask("BEGIN; LOCK TABLE $relation;");
		my $seen = call($session, $call);
		$locker->ask('ROLLBACK;');
		if ($seen =~ /ERROR/)
		{
			$failed{"$call->[0] $relation"} = 1;
			push @wrong, "$call->[0], $relation locked: $seen"
			  if $seen !~ /ERROR:  55P03/ || $seen =~ /XX000/;
		}
		elsif ($seen ne $expected{ $call->[0] })
		{
			push @wrong, "$call->[0], $relation locked: $seen";
		}
		$session->ask('SET lock_timeout = 0;');
		$seen = call($session, $call);
		push @wrong, "$call->[0], $relation free again: $seen"
		  if $seen ne $expected{ $call->[0] };
		$session->ask(q{SET lock_timeout = '20ms';});
		if (long_or(0, 1))
		{
			$session->stop;
			$session = undef;
		}
	}
	$session->stop if $session;
	$first += 5;
}
$locker->stop;
is(join("\n", @wrong), '', 'each error is that of the lock, and each answer right');
note join "\n", 'failed:', sort keys %failed;

# Of these it is known that the call reads what is locked, in any session.
my @certain = map { my ($relation, @calls) = @$_; map { "$_ cas_internal.$relation" } @calls } (
	[ 'alloc_slot', qw(alloc_ip alloc_ports alloc_prefix alloc_int alloc_mac alloc_mac8 alloc_count alloc_set) ],
	[ 'lock_name', qw(lock_acquire lock_protect) ],
	[ 'lease_state', 'lease' ],
	[ 'request_result', qw(request_begin request_once) ],
	[ 'request_scope', qw(request_begin request_once) ]);
is(join("\n", grep { !$failed{$_} } @certain), '', 'the calls fail at tables that they need');
is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'all pools are sound');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|XX000/, 'nothing has crashed');

$node->stop;
done_testing();
