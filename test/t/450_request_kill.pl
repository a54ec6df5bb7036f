# Claim: 64 sessions that call request_once() with 8 keys, sessions killed at
# random, at each isolation level: each key's function is committed exactly
# once, and everybody who gets an answer gets the same one.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{PG_CAS_LONG} ? 200 : 30;
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
	PERFORM pg_sleep(random() * 0.1);
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
				  . "SELECT :'key', request_once('kill', :'key', jsonb_build_object('key', :'key'), 'work(jsonb)') ->> 0;\n"
			} (0, 3)
		} 1 .. $rounds);

	my $options = "-c default_transaction_isolation=$level";
	$options =~ s/(?<!-c) /\\ /;

	# A prepared transaction keeps them until all are there.
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

	# Kill 24 of them, one after the other.
	my $killed = 0;
	foreach (1 .. 24)
	{
		$killed += $node->safe_psql('postgres', <<'SQL');
SELECT count(pg_terminate_backend(pid)) FROM (
	SELECT pid FROM pg_stat_activity
	WHERE query LIKE '%request_once%' AND pid <> pg_backend_pid()
	ORDER BY random() LIMIT 1) AS victim
SQL
		usleep(rand 10_000);
	}
	$_->{process}->finish foreach @clients;
	cmp_ok($killed, '>', 10, "$level: sessions were killed");

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
	SELECT '%1$s ' || r || '-' || k AS key FROM generate_series(1, %2$s) AS r,
		generate_series(0, 7) AS k) AS keys,
	request_once('kill', key, jsonb_build_object('key', key), 'work(jsonb)') AS answer
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
