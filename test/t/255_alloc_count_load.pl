# Claim: however many sessions take from counted pools with three levels, are
# killed in the middle of it or crash with the server, never more than its
# capacity is held of any pool in any snapshot, at any isolation level, and what
# is left is sound.  Calls that take from two parents in opposite orders do not
# deadlock while there is enough.  A set of units below parents that are nearly
# full, and whose capacities are raised and lowered meanwhile, gets its answer.
#
# 64 sessions act at random until ten of them have been killed, one after each 100
# acts, and until the watchers have looked 120 times; PG_CAS_LONG=1 makes it 20 rounds.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = long_or(1, 20);
my $seed = seed(1);
my $tmp = $PostgreSQL::Test::Utils::tmp_check;

my $node = pg_cas_node('count_load', 'max_connections = 120', 'fsync = off',
	'restart_after_crash = on', 'log_min_messages = fatal');
pg_cas_helpers($node, 'postgres');
$node->safe_psql('postgres', <<'SQL');
SELECT alloc_pool_create('root', '{}', 'count', capacity => 60);
SELECT alloc_pool_create('middle', '{}', 'count', capacity => 50, parent => 'root');
SELECT alloc_pool_create('leaf', '{}', 'count', capacity => 40, parent => 'middle');
SELECT alloc_pool_create('addresses', '{10.0.0.0/24}', parent => 'middle');
SELECT alloc_pool_create('nets', '{10.0.0.0/24}', 'prefix', parent => 'root', cooldown => '20 ms');

-- raises an error if more is held below a pool than its capacity
CREATE FUNCTION watch() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	too_much text := (
		WITH RECURSIVE tree AS (
			SELECT pool, pool AS top FROM alloc_pools WHERE kind = 'count'
			UNION ALL
			SELECT c.pool, tree.top FROM tree JOIN alloc_pools AS c ON c.parent = tree.pool)
		SELECT string_agg(format('%s: %s of %s', top, held, capacity), ', ')
		FROM (SELECT top, sum(CASE u.kind WHEN 'count' THEN n ELSE 1 END) AS held
			FROM tree JOIN alloc_units AS u USING (pool) GROUP BY top) AS t
		JOIN alloc_pools AS p ON p.pool = top WHERE held > capacity);
BEGIN
	IF too_much IS NOT NULL THEN
		RAISE EXCEPTION 'too much: %', too_much;
	END IF;
END $$;

CREATE SEQUENCE acts;
CREATE PROCEDURE act() LANGUAGE plpgsql AS $$
DECLARE
	pool text := (ARRAY['root', 'middle', 'leaf', 'addresses', 'nets'])[1 + floor(random() * 5)];
	key uuid := k((random() * 80)::int);
	until interval := CASE WHEN random() < 0.2 THEN '20 ms' END;
	counted boolean := pool NOT IN ('addresses', 'nets');
	what float := random();
BEGIN
	PERFORM nextval('acts');
	IF what < 0.5 AND counted THEN
		PERFORM alloc_try_count(pool, key, 1 + floor(random() * random() * 12)::int, until,
			wait => CASE floor(random() * 3) WHEN 0 THEN '0' WHEN 1 THEN '20 ms'::interval END);
	ELSIF what < 0.5 AND pool = 'nets' THEN
		PERFORM alloc_try_prefix(pool, key, 25 + floor(random() * 5)::int, ttl => until);
	ELSIF what < 0.5 THEN
		PERFORM alloc_try_ip(pool, key, ttl => until, consecutive => 1 + floor(random() * random() * 4)::int);
	ELSIF what < 0.85 THEN
		PERFORM alloc_release(pool, key);
	ELSIF what < 0.9 THEN
		PERFORM alloc_renew(pool, key, until);
	ELSIF what < 0.95 AND counted THEN
		PERFORM alloc_resize(pool, key, 1 + floor(random() * 6)::int);
	ELSE
		PERFORM alloc_move(pool, key, k((random() * 80)::int));
	END IF;
EXCEPTION WHEN SQLSTATE 'PT404' OR SQLSTATE 'PT422' OR SQLSTATE 'PT507' THEN
	NULL;
END $$;
SQL

# Sets, for the last scene.
$node->safe_psql('postgres', <<'SQL');
CREATE PROCEDURE make_families() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM alloc_pool_create('top', '{}', 'count', capacity => 40);
	FOR i IN 1..3 LOOP
		PERFORM alloc_pool_create('p' || i, '{}', 'count', capacity => 12, parent => 'top'),
			alloc_pool_create('c' || i, '{}', 'count', capacity => 8, parent => 'p' || i),
			alloc_pool_create('i' || i, '{0-19}', 'int', parent => 'p' || i),
			alloc_pool_create('x' || i, ARRAY[format('10.%s.0.0/27', i)], 'prefix', parent => 'p' || i);
	END LOOP;
END $$;
-- a set of two to four members; A to D stand for the families 1 to 3
CREATE PROCEDURE take_set() LANGUAGE plpgsql AS $$
DECLARE
	members text := (ARRAY[
		'[{"pool": "cA", "n": 2}, {"pool": "iB"}]',
		'[{"pool": "iB"}, {"pool": ["cA", "cC"], "n": 3}, {"pool": "xD", "masklen": 30}]',
		'[{"pool": ["pA", "top"], "n": 4}, {"pool": "cB"}]',
		'[{"pool": ["iA", "iB"], "consecutive": 3}, {"pool": "cC"}, {"pool": "xD", "masklen": 31}, {"pool": "top", "n": 1}]',
		'[{"pool": ["xA", "xC"], "masklen": 29}, {"pool": ["iB", "iD"]}]',
		'[{"pool": "cA", "n": 5}, {"pool": ["pB", "pC"], "n": 2}]'])[1 + floor(random() * 6)];
BEGIN
	FOR i IN 1..4 LOOP
		members := replace(members, substr('ABCD', i, 1) || '"', 1 + floor(random() * 3)::int || '"');
	END LOOP;
	PERFORM alloc_set(members::jsonb, k((random() * 60)::int));
EXCEPTION
	-- a list can name a pool twice by now
	WHEN SQLSTATE 'PT422' OR SQLSTATE 'PT507' OR SQLSTATE '22023' OR SQLSTATE '40P01' THEN NULL;
END $$;
CREATE PROCEDURE give_back() LANGUAGE plpgsql AS $$
DECLARE
	key uuid := k((random() * 60)::int);
BEGIN
	PERFORM alloc_release(pool, key) FROM alloc_pools
	WHERE pool ~ '^([cipx][123]|top)$' AND random() < 0.7;
EXCEPTION WHEN SQLSTATE '40P01' THEN NULL;
END $$;
CREATE PROCEDURE set_capacity() LANGUAGE plpgsql AS $$
DECLARE
	pool text := (ARRAY['c', 'p', 'p', 'p', 'top'])[1 + floor(random() * 5)];
BEGIN
	IF pool = 'top' THEN
		PERFORM alloc_pool_set(pool, capacity => 5 + floor(random() * 40)::int);
	ELSE
		PERFORM alloc_pool_set(pool || 1 + floor(random() * 3)::int,
			capacity => floor(random() * 16)::int);
	END IF;
END $$;
SQL

# Scripts of pgbench.
my %script = (
	set => "CALL take_set();\n",
	undo => "BEGIN;\nCALL take_set();\nROLLBACK;\n",
	give => "CALL give_back();\n",
	capacity => "CALL set_capacity();\n",
	reap => "BEGIN;\nSELECT pg_cas_reap();\nROLLBACK;\n",
	act => "CALL act();\n",
	back => "BEGIN;\nCALL act();\nROLLBACK;\n",
	committed => "SELECT watch();\n",
	repeatable => "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT watch();\nSELECT watch();\nCOMMIT;\n",
	serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;\nSELECT watch();\nSELECT watch();\nCOMMIT;\n",
	one => "BEGIN;\nSELECT alloc_count('a', k(:client_id), 1), alloc_count('b', k(:client_id), 1);\n"
	  . "SELECT alloc_release('a', k(:client_id)), alloc_release('b', k(:client_id));\nCOMMIT;\n",
	other => "BEGIN;\nSELECT alloc_count('b', k(:client_id + 100), 1), alloc_count('a', k(:client_id + 100), 1);\n"
	  . "SELECT alloc_release('b', k(:client_id + 100)), alloc_release('a', k(:client_id + 100));\nCOMMIT;\n");
append_to_file("$tmp/$_.pgb", $script{$_}) foreach keys %script;

sub bench
{
	my ($clients, $times, @scripts) = @_;
	my $run = { out => '' };
	$run->{harness} = IPC::Run::start(
		[   'pgbench', '-n', '--random-seed', $seed++, '-c', $clients, '-j', 4,
			'-t', $times, (map { ('-f', "$tmp/$_.pgb") } @scripts),
			$node->connstr('postgres') ],
		'>', \$run->{out}, '2>', \$run->{out});
	return $run;
}

sub finish
{
	my ($run) = @_;
	$run->{harness}->finish;
	return $run->{out};
}

sub is_sound
{
	my ($when) = @_;
	is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify(); SELECT watch()'),
		'', "$when: all pools are sound");
	return;
}

# Wait until so many more acts have begun than at that time.
sub acts { return $node->safe_psql('postgres', 'SELECT last_value FROM acts'); }
sub wait_for_acts
{
	my ($mark, $n) = @_;
	wait_until("$n acts", sub { acts() >= $mark + $n });
	return;
}

# A load that goes on until it is ended.
my $endless = 100_000_000;
sub end
{
	my ($run) = @_;
	$run->{harness}->signal('TERM');
	return finish($run);
}

my $aborted = qr/client \d+ (?:script \d+ )?aborted/;
my $killer = q{SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 180000)) FROM (
	SELECT pid FROM pg_stat_activity
	WHERE query IN ('CALL act();', 'BEGIN;') AND pid <> pg_backend_pid()
	ORDER BY random() LIMIT 1) AS p};
foreach my $round (1 .. $rounds)
{
	my $mark = acts();
	my $load = bench(64, $endless, 'act', 'act', 'act', 'back');

	wait_for_acts($mark, 100);
	my $watchers = bench(6, 20, 'committed', 'repeatable', 'serializable');
	foreach my $kill (1 .. 10)
	{
		wait_for_acts($mark, 100 * $kill);
		wait_until('one is killed', sub { $node->safe_psql('postgres', $killer) });
	}
	my $seen = finish($watchers);
	unlike($seen, qr/too much|ERROR|aborted/, "round $round: no watcher has seen too much")
	  or diag $seen;
	wait_for_acts($mark, 1600);
	wait_until('the clients of those killed have seen it', sub {
		$load->{harness}->pump_nb;
		(() = $load->{out} =~ /$aborted/g) >= 10; });
	my $done = end($load);
	unlike($done, qr/ERROR:(?!.*(?:terminating))/, "round $round: no error") or diag $done;
	is(scalar(() = $done =~ /$aborted/g), 10, "round $round: only ten clients have ended early");
	is_sound("round $round");
}

# A crash in the middle.
my $mark = acts();
my $load = bench(32, $endless, 'act', 'back');
wait_for_acts($mark, 500);
$node->stop('immediate');
finish($load);
$node->start;
is_sound('after a crash');

# Two parents in opposite orders.
$node->safe_psql('postgres', q{
	SELECT alloc_pool_create('pa', '{}', 'count', capacity => 300),
		alloc_pool_create('pb', '{}', 'count', capacity => 300),
		alloc_pool_create('a', '{}', 'count', capacity => 300, parent => 'pa'),
		alloc_pool_create('b', '{}', 'count', capacity => 300, parent => 'pb')});
my $out = finish(bench(100, 10, 'one', 'other'));
unlike($out, qr/ERROR|aborted|deadlock/, 'opposite orders') or diag $out;
is_sound('after opposite orders');

# Sets, while capacities go up and down.
$node->safe_psql('postgres', 'CALL make_families()');
$out = finish(bench(16, long_or(100, 2000), 'set', 'set', 'undo', 'give', 'give', 'capacity', 'reap'));
unlike($out, qr/ERROR|aborted/, 'sets below capacities that change') or diag $out;
is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'sets: all pools are sound');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM alloc_history WHERE pool ~ '^[cipx][123]$'}),
	'>', 10, 'sets: some have got what they wanted');
$node->stop;

done_testing();
