# Claim: 64 sessions that call request_once() with 8 keys, sessions killed
# among them, at each isolation level: each key's function is committed exactly
# once, and everybody who gets an answer gets the same one.
#
# There are 30 rounds, 200 with PG_CAS_LONG=1, and a kill in each of the first
# 24.  PG_CAS_SEED (1) says who is killed.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = long_or(30, 200);
my $kills = 24;
seed(1);
my $node = pg_cas_node('main', 'fsync = off', 'max_connections = 100',
	'max_prepared_transactions = 1');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE run (key text, answer text);
CREATE TABLE gate ();
CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	answer text := gen_random_uuid();
BEGIN
	INSERT INTO run VALUES (request ->> 'key', answer);
	PERFORM pg_advisory_lock_shared((request ->> 'round')::int);
	PERFORM pg_advisory_unlock_shared((request ->> 'round')::int);
	RETURN to_jsonb(answer);
END $$;
SQL

foreach my $level ('read committed', 'repeatable read', 'serializable')
{
	# Rounds of 8 keys, each session at its own key of them, and all of them
	# again in another order.
	my $script = PostgreSQL::Test::Utils::tempdir . '/once';
	append_to_file(
		$script,
		join '',
		"SELECT FROM gate;\n",
		map {
			my $round = $_;
			map {
				"SELECT '$level $round-' || (:s + $_) % 8 AS key \\gset\n"
				  . "SELECT :'key', request_once('kill', :'key', jsonb_build_object('key', :'key', 'round', $round), 'work(jsonb)') ->> 0;\n"
			} (0, 3)
		} 1 .. $rounds);

	my $options = "-c default_transaction_isolation=$level";
	$options =~ s/(?<!-c) /\\ /;

	# This one lets the functions of a round go on, and a prepared
	# transaction keeps the sessions until all are there.
	my $doorkeeper = $node->background_psql('postgres', on_error_stop => 1);
	$doorkeeper->set_query_timer_restart;
	$doorkeeper->query_safe("SELECT pg_advisory_lock($_)") foreach 1 .. $kills;
	$node->safe_psql('postgres',
		q{BEGIN; LOCK TABLE gate; PREPARE TRANSACTION 'gate'});
	local $ENV{PGOPTIONS} = $options;
	my @clients;
	foreach my $s (1 .. 64)
	{
		my $client = { out => '', err => '' };
		$client->{process} = IPC::Run::start(
			[ 'psql', '-XAtq', '-v', "s=$s", '-v', 'VERBOSITY=sqlstate', '-f', $script, '-d', $node->connstr('postgres') ],
			'<', \undef, '>', \$client->{out}, '2>', \$client->{err});
		push @clients, $client;
	}

	delete $ENV{PGOPTIONS};
	$node->poll_query_until('postgres',
		q{SELECT count(*) = 64 FROM pg_stat_activity WHERE wait_event_type = 'Lock'});
	$node->safe_psql('postgres', q{COMMIT PREPARED 'gate'});

	# In each of the first rounds kill one of them: by turns while the
	# functions of that round wait for us, and when they have just gone on.
	foreach my $round (1 .. $kills)
	{
		$node->poll_query_until('postgres', qq{
			SELECT count(*) > 0 FROM pg_locks
			WHERE locktype = 'advisory' AND objid = $round AND NOT granted})
		  or die "round $round does not begin";
		$doorkeeper->query_safe("SELECT pg_advisory_unlock($round)")
		  if $round % 2;
		my $victim = rand;
		$node->poll_query_until('postgres', qq{
			SELECT count(pg_terminate_backend(pid)) = 1 FROM (
				SELECT pid FROM pg_stat_activity
				WHERE query LIKE '%request_once%' AND pid <> pg_backend_pid()
					AND state = 'active'
				ORDER BY md5(pid || '$victim') LIMIT 1) AS victim})
		  or die "nobody to kill in round $round";
		$doorkeeper->query_safe("SELECT pg_advisory_unlock($round)")
		  unless $round % 2;
	}
	$_->{process}->finish foreach @clients;
	$doorkeeper->quit;
	my $killed = grep { $_->{err} =~ /57P01/ } @clients;
	cmp_ok($killed, '>=', $kills / 2, "$level: sessions were killed");

	# What they were told, and what they complained of.
	my (%told, %errors);
	foreach my $client (@clients)
	{
		$told{$1}{$2} = 1 while $client->{out} =~ /^(.*)\|(.*)$/mg;
		$errors{$1} = 1 while $client->{err} =~ /(?:ERROR|FATAL): +(\w+)/g;
	}
	delete @errors{'57P01'};
	delete @errors{'40001'} unless $level eq 'read committed';
	is(join(' ', sort keys %errors), '', '... and no error but those');
	is(scalar(grep { keys %$_ > 1 } values %told),
		0, '... all who got an answer got the same');

	# The last word: each key's, asked again.
	is( $node->safe_psql('postgres', sprintf <<'SQL', $level, $rounds),
SELECT count(*) FROM (
	SELECT r, '%1$s ' || r || '-' || k AS key FROM generate_series(1, %2$s) AS r,
		generate_series(0, 7) AS k) AS keys,
	request_once('kill', key, jsonb_build_object('key', key, 'round', r), 'work(jsonb)') AS answer
WHERE (SELECT array_agg(run.answer) FROM run WHERE run.key = keys.key)
	IS DISTINCT FROM ARRAY[answer ->> 0];
SELECT count(*), count(DISTINCT key) FROM run WHERE key LIKE '%1$s %%'
SQL
		"0\n" . $rounds * 8 . '|' . $rounds * 8,
		'... each key has run exactly once, and that is its stored result');
	is( scalar(
			grep {
				$node->safe_psql('postgres',
					"SELECT count(*) FROM run WHERE key = '$_' AND answer = '" . (keys %{ $told{$_} })[0] . "'") ne '1'
			} (sort keys %told)[ 0 .. 9 ]),
		0,
		'... the one that was told');
}

done_testing();
