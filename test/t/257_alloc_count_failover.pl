# Claim: when the server crashes while counted pools with three levels are in
# use, and a standby is promoted, nobody has seen more than the capacity held on
# either of them, before or after; what was acknowledged is there, what a
# prepared transaction has stays taken, all pools are sound, and work goes on.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = pg_cas_node('primary', { allows_streaming => 1 }, 'max_connections = 60',
	'fsync = off', 'max_prepared_transactions = 5', 'log_min_messages = fatal');
pg_cas_helpers($node, 'postgres');
$node->safe_psql('postgres', <<'SQL');
SELECT alloc_pool_create('root', '{}', 'count', capacity => 40);
SELECT alloc_pool_create('middle', '{}', 'count', capacity => 30, parent => 'root');
SELECT alloc_pool_create('leaf', '{}', 'count', capacity => 20, parent => 'middle');
SELECT alloc_pool_create('addresses', '{10.0.0.0/24}', parent => 'middle');
SELECT alloc_pool_create('all', '{}', 'count', capacity => 100000),
	alloc_pool_create('ledger', '{}', 'count', capacity => 100000, parent => 'all');

-- raises an error if more is held of a pool, or below it, than its capacity
CREATE FUNCTION watch() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	too_much text := (SELECT string_agg(u::text, ', ') FROM alloc_usage() AS u
		WHERE pool IN (SELECT pool FROM alloc_pools WHERE kind = 'count') AND allocated + cooling > capacity);
BEGIN
	IF too_much IS NOT NULL THEN
		RAISE EXCEPTION 'too much: %', too_much;
	END IF;
END $$;

-- it does not wait for the prepared transaction
CREATE PROCEDURE act() LANGUAGE plpgsql SET lock_timeout = '20ms' AS $$
DECLARE
	pool text := (ARRAY['root', 'middle', 'leaf', 'addresses'])[1 + floor(random() * 4)];
	key uuid := k((random() * 60)::int);
	until interval := CASE WHEN random() < 0.2 THEN '20 ms' END;
	what float := random();
BEGIN
	IF what < 0.5 AND pool <> 'addresses' THEN
		PERFORM alloc_try_count(pool, key, 1 + floor(random() * 8)::int, until, wait => '0');
	ELSIF what < 0.4 THEN
		PERFORM alloc_try_ip(pool, key, ttl => until);
	ELSIF what < 0.5 THEN
		PERFORM alloc_set('[{"pool": "addresses"}, {"pool": ["leaf", "root"]}]', key);
	ELSIF what < 0.85 THEN
		PERFORM alloc_release(pool, key);
	ELSIF what < 0.95 AND pool <> 'addresses' THEN
		PERFORM alloc_resize(pool, key, 1 + floor(random() * 6)::int);
	ELSE
		PERFORM alloc_move(pool, key, k((random() * 60)::int));
	END IF;
EXCEPTION WHEN SQLSTATE 'PT404' OR SQLSTATE 'PT422' OR SQLSTATE 'PT507' OR SQLSTATE '55P03' THEN
	NULL;
END $$;
SQL
append_to_file("$tmp/act.pgb", "CALL act();\n");
append_to_file("$tmp/watch.pgb",
	"SELECT watch();\nBEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT watch();\nSELECT watch();\nCOMMIT;\n");
# What a client is told: each third key is released again.
foreach my $n (1 .. 20_000)
{
	append_to_file("$tmp/ledger.sql", "SELECT 'got', $n, alloc_count('ledger', k($n), 2);\n"
		  . ($n % 3 ? '' : "SELECT 'gone', $n, alloc_release('ledger', k($n));\n"));
}

sub start
{
	my (@command) = @_;
	my $run = { out => '' };
	$run->{harness} = IPC::Run::start(\@command, '<', \undef, '>', \$run->{out}, '2>&1');
	return $run;
}

sub bench
{
	my ($server, $script, $clients, $times) = @_;
	return start('pgbench', '-n', '--random-seed=1', '-c', $clients, '-t', $times,
		'-f', "$tmp/$script.pgb", $server->connstr('postgres'));
}

sub finish
{
	my ($run) = @_;
	$run->{harness}->finish;
	return $run->{out};
}

sub is_sound
{
	my ($server, $when) = @_;
	is($server->safe_psql('postgres', 'SELECT * FROM alloc_verify(); SELECT watch()'),
		'', "$when: all pools are sound");
	return;
}

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
$node->reload;
$node->safe_psql('postgres',
	q{BEGIN; SELECT alloc_count('leaf', k(900), 3); PREPARE TRANSACTION 'p'});
$node->wait_for_catchup($standby);

# The crash, in the middle of it.
my $ledger = start('psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres'),
	'-f', "$tmp/ledger.sql");
my $load = bench($node, 'act', 12, 100_000);
my $here = bench($node, 'watch', 2, 100_000);
my $there = bench($standby, 'watch', 2, 60);
wait_until('enough has been done', sub {
	$_->{harness}->pump_nb foreach $ledger, $load, $here, $there;
	return 300 < ($ledger->{out} =~ tr/\n//) && !$there->{harness}->pumpable; });
$node->stop('immediate');
my $told = finish($ledger);
finish($load);
unlike(finish($_), qr/too much/, 'nobody has seen too much') foreach $here, $there;

$standby->promote;
is_sound($standby, 'promoted');
my (%has, $last);
foreach my $line (grep { /^(?:got|gone)\|/ } split /\n/, $told)
{
	my ($what, $n) = split /\|/, $line;
	$has{$n} = $what eq 'got';
	$last = $n;
}
my %found = map { $_ => 1 } split /\n/,
  $standby->safe_psql('postgres', q{SELECT right(key::text, 9)::int FROM alloc_units WHERE pool = 'ledger'});
# what it was doing is not known: the release of the last, or the next one
delete @has{ $last, $last + 1 };
delete @found{ $last, $last + 1 };
cmp_ok(scalar keys %has, '>', 200, 'a client was told much');
is_deeply([ sort { $a <=> $b } grep { $has{$_} } keys %has ],
	[ sort { $a <=> $b } keys %found ], 'all of it is so, and nothing else');

# It goes on there.
$load = bench($standby, 'act', 12, 100);
$here = bench($standby, 'watch', 2, 40);
unlike(finish($load), qr/ERROR|aborted/, 'work goes on');
unlike(finish($here), qr/ERROR|aborted/, 'and nobody sees too much');
$standby->safe_psql('postgres', q{COMMIT PREPARED 'p'});
is($standby->safe_psql('postgres', q{SELECT n FROM alloc_get('leaf', k(900))}),
	'3', 'what was prepared is committed');
is_sound($standby, 'in the end');

# The one that crashed.
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->start;
is_sound($node, 'after the crash');
$standby->stop;
$node->stop;
done_testing();
