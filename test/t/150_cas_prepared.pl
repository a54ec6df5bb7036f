# Claim: a row that a prepared transaction holds keeps its next writer waiting,
# at every isolation level and over a crash of the server, until COMMIT or
# ROLLBACK PREPARED; then the writer's answer is the truth of that.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main', 'max_prepared_transactions = 5');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE doc (id text PRIMARY KEY, d jsonb);
SELECT cas_enable('doc', payload_column => 'd', unversioned => 'reject');
SQL

# What the waiting session says at last: a value or an SQLSTATE.
sub end_of
{
	my ($session) = @_;
	my $end = $session->query("\\echo\n");

	$end =~ s/^\s+|\s+$//g;
	$end = $1 if $session->{stderr} =~ /ERROR:  (\w{5})/;
	$session->{stderr} = '';
	return $end;
}

# One writer prepares, another waits for the row; how it ends is told by the
# isolation level and by what becomes of the first.
sub race
{
	my ($level, $end, $expected, %how) = @_;
	my $name = "$how{call}, $level, $end PREPARED";

	$node->safe_psql('postgres', <<"SQL");
DELETE FROM doc;
INSERT INTO doc VALUES ('a', '{}', 1);
BEGIN;
$how{first};
PREPARE TRANSACTION 'holds a';
SQL
	$node->restart if $how{restart};

	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query("\\set VERBOSITY sqlstate\nBEGIN ISOLATION LEVEL $level;\nSELECT FROM doc;");
	$session->query_until(qr/waits/, <<"SQL");
\\echo waits
SELECT $how{call};
SQL
	my $wait = q{FROM pg_stat_activity WHERE query ~ 'cas_' AND state <> 'idle'
		AND pid <> pg_backend_pid()};
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = 'Lock' OR state <> 'active' $wait");
	is($node->safe_psql('postgres', "SELECT wait_event_type $wait"),
		'Lock', "$name: waits");
	$node->safe_psql('postgres', "$end PREPARED 'holds a'");
	is(end_of($session), $expected, "$name: $expected");
	$session->query('COMMIT;');
	$session->quit;
}

my $update = q{SELECT cas_update('doc', 'a', 1, '{"first": 1}')};
my $call = q{cas_update('doc', 'a', 1, '{"second": 1}')};

foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my $committed = $level eq 'READ COMMITTED';

	race($level, 'COMMIT', $committed ? 'PT409' : '40001',
		first => $update, call => $call);
	is($node->safe_psql('postgres', 'SELECT * FROM doc'),
		'a|{"first": 1}|2', "$level: the first's row stands");
	race($level, 'ROLLBACK', '2', first => $update, call => $call);
	is($node->safe_psql('postgres', 'SELECT * FROM doc'),
		'a|{"second": 1}|2', "$level: the second's row stands");
	race(
		$level, 'COMMIT',
		$committed ? 'PT404' : '40001',
		first => q{SELECT cas_delete('doc', 'a', 1)},
		call => $call);
	race(
		$level, 'COMMIT',
		$committed ? '3' : '40001',
		first => $update,
		call => q{cas_merge('doc', 'a', '{"second": 1}')});
	race(
		$level, 'COMMIT',
		$committed ? '(exists,b,1,"{""first"": 1}")' : '40001',
		first => q{SELECT cas_create('doc', 'b', '{"first": 1}')},
		call => q{cas_try_create('doc', 'b', '{}')});
}
race('READ COMMITTED', 'COMMIT', '(conflict,a,2,"{""first"": 1}")',
	first => $update,
	call => q{cas_try_update('doc', 'a', 1, '{"second": 1}')},
	restart => 1);

# Who will not wait is told so.
$node->safe_psql('postgres', "$update; " =~ s/1, '/2, '/r);
$node->safe_psql('postgres',
	q{BEGIN; SELECT cas_merge('doc', 'a', '{"held": 1}'); PREPARE TRANSACTION 'holds a'});
my ($rc, $stdout, $stderr) = $node->psql('postgres',
	q{SET lock_timeout = '1ms'; SELECT cas_merge('doc', 'a', '{}')},
	extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($stderr, qr/55P03/, 'lock_timeout');
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'holds a'});

done_testing();
