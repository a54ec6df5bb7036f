# Claim: when the answer to COMMIT is lost (the client is killed, the server
# is killed, with synchronous_commit on and off, or a standby takes over), the
# retry with the same key finds "done" if and only if the work is there, and the
# work is never there twice.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = long_or(4, 20);
seed(1);

my $primary = pg_cas_node('primary', { allows_streaming => 1 },
	'wal_writer_delay = 10s');
$primary->safe_psql('postgres', <<'SQL');
CREATE TABLE work (key text, who text);
CREATE FUNCTION work(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO work VALUES (request ->> 'key', 'once') RETURNING to_jsonb(key) $$;
SQL

# Requests one after another, both ways of doing them, without end; each key
# that was answered is printed.
my $script = PostgreSQL::Test::Utils::tempdir . '/requests';
append_to_file(
	$script,
	join '',
	map {
		qq{SELECT 'told', request_once('lost', :'p' || '-$_', jsonb_build_object('key', :'p' || '-$_'), 'work(jsonb)') ->> 0;\n}
		  . qq{BEGIN; SELECT request_begin('lost', :'p' || '+$_', '{}'); INSERT INTO work VALUES (:'p' || '+$_', 'begin'); SELECT request_done('lost', :'p' || '+$_', '1'); COMMIT;\n}
		  . qq{SELECT 'told', :'p' || '+$_';\n}
	} 1 .. 3000);

# Start a client of these, and wait until it is well under way.
sub start_client
{
	my ($node, $prefix, $sync) = @_;
	my $client = { out => '', err => '' };
	local $ENV{PGOPTIONS} = "-c synchronous_commit=$sync";
	$client->{process} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', "p=$prefix", '-f', $script, '-d', $node->connstr('postgres') ],
		'<', \undef, '>', \$client->{out}, '2>', \$client->{err});
	$client->{process}->pump until $client->{out} =~ /(told.*\n(.|\n)*?){20}/;
	usleep(1 + rand 60_000);
	return $client;
}

# What is wrong, if every key is asked for again: told is what a client was
# told of, which must be there.  The answer is a number for each problem.
sub ask_again
{
	my ($node, $prefix, @told) = @_;
	return $node->safe_psql('postgres', sprintf <<'SQL', $prefix, join ',', map { "('$_')" } @told);
BEGIN;
CREATE TEMP TABLE answer AS
	SELECT k, (SELECT state FROM request_begin('lost', k,
		CASE WHEN k LIKE '%%+%%' THEN '{}' ELSE jsonb_build_object('key', k) END)) AS state,
		(SELECT count(*) FROM work WHERE key = k) AS n
	FROM (SELECT '%1$s' || sign || i AS k FROM generate_series(1, 3000) AS i,
		unnest('{-,+}'::text[]) AS sign) AS keys;
SELECT count(*) FILTER (WHERE state = 'done' AND n <> 1),
	count(*) FILTER (WHERE state = 'new' AND n <> 0),
	count(*) FILTER (WHERE state = 'new' AND k IN (SELECT * FROM (VALUES %2$s) AS t)),
	count(*) FILTER (WHERE state = 'done') > 0 AS some_done
FROM answer;
ROLLBACK;
SQL
}

sub told
{
	my ($client) = @_;
	return $client->{out} =~ /^told\|(\S+)$/mg;
}

# A client that is killed: its backend may or may not get to its COMMIT.
my $problems = '';
foreach my $i (1 .. $rounds)
{
	my $client = start_client($primary, "client$i", 'on');
	$client->{process}->signal('KILL');
	$client->{process}->finish;
	$primary->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'});
	$problems .= ask_again($primary, "client$i", told($client)) . "\n";
}
is($problems, "0|0|0|t\n" x $rounds, 'clients killed');

# A server that dies.  With synchronous_commit off it may lose what it has told
# of, and then it must not say "done".
foreach my $sync ('on', 'off')
{
	my $lost = 0;
	$problems = '';
	foreach my $i (1 .. $rounds)
	{
		my $client = start_client($primary, "$sync$i", $sync);
		$primary->stop('immediate');
		$client->{process}->finish;
		$primary->start;
		my $answer = ask_again($primary, "$sync$i", told($client));
		$lost += (split /\|/, $answer)[2];
		$answer =~ s/\|\d+\|[tf]$//;
		$problems .= "$answer\n";
	}
	is($problems, "0|0\n" x $rounds, "server killed, synchronous_commit = $sync");
	is($lost, 0, '... nothing that was acknowledged is lost') if $sync eq 'on';
	note "synchronous_commit = off has lost $lost" if $sync eq 'off';
}

# A failover, with a client that is at it.
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres',
	q{ALTER SYSTEM SET synchronous_standby_names = '*'});
$primary->reload;
$primary->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'});
my $client = start_client($primary, 'failover', 'on');

# What is done can be asked for on a standby; what is new cannot be begun.
my ($done) = told($client);
$standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM work WHERE key = '$done'");
is( $standby->safe_psql(
		'postgres',
		"BEGIN; SELECT state FROM request_begin('lost', '$done', jsonb_build_object('key', '$done'))"),
	'done',
	'on the standby a request that is done is done');
my ($rc, $out, $err) = $standby->psql('postgres',
	q{\set VERBOSITY sqlstate
	BEGIN; SELECT request_begin('lost', 'never', '{}')});
like($err, qr/25006/, '... and one that is new is refused');

$primary->stop('immediate');
$client->{process}->finish;
$standby->promote;
is(ask_again($standby, 'failover', told($client)),
	'0|0|0|t', 'after failover to a synchronous standby');

# And the retry does the work, once.
$standby->safe_psql('postgres', <<'SQL') for 1 .. 2;
SELECT request_once('lost', 'failover-' || i, jsonb_build_object('key', 'failover-' || i), 'work(jsonb)')
FROM generate_series(1, 3000) AS i;
SQL
is( $standby->safe_psql(
		'postgres',
		q{SELECT count(*), count(DISTINCT key) FROM work WHERE key LIKE 'failover-%'}),
	'3000|3000',
	'tried again, everything has been done once');

done_testing();
