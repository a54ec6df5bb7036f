# Claim: a swap waits for a prepared transaction that holds the row, and then
# decides on what that has left, at each isolation level.
#
# This is not among the isolation tests because isolationtester does not see
# that a session waits for a prepared transaction.
use strict;
use warnings;

use IPC::Run qw(start);
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main', 'max_prepared_transactions = 5');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE obj (id text PRIMARY KEY, doc jsonb NOT NULL);
SELECT cas_enable('obj', payload_column => 'doc');
SQL

my %calls = (
	update => q{cas_try_update('obj', 'a', 1, '"s2"')},
	merge => q{cas_merge('obj', 'a', '"s2"')},
	put => q{cas_put('obj', 'a', '"s2"')},
	create => q{cas_try_create('obj', 'a', '"s2"')},
	delete => q{cas_try_delete('obj', 'a', 1)},
	rename => q{cas_try_rename('obj', 'a', 1, 'b')});

my $update = q{cas_update('obj', 'a', 1, '"s1"')};
my $delete = q{cas_delete('obj', 'a', 1)};

# The prepared call, how it ends, and for each call that waits for it what it
# is told under READ COMMITTED, and what is in the table then.
my @races = (
	[
		$update, 'COMMIT',
		{
			update => [ 'conflict|a|2|"s1"', 'a|"s1"|2' ],
			merge => [ '3', 'a|"s2"|3' ],
			put => [ '3', 'a|"s2"|3' ],
			create => [ 'exists|a|2|"s1"', 'a|"s1"|2' ],
			delete => [ 'conflict|a|2|"s1"', 'a|"s1"|2' ],
			rename => [ 'conflict|a|2|"s1"', 'a|"s1"|2' ],
		}
	],
	[
		$delete, 'COMMIT',
		{
			update => [ 'missing|a||', '' ],
			merge => [ 'ERROR:  PT404', '' ],
			put => [ '1', 'a|"s2"|1' ],
			create => [ 'created|a|1|"s2"', 'a|"s2"|1' ],
			delete => [ 'missing|a||', '' ],
			rename => [ 'missing|a||', '' ],
		}
	],
	map {
		[
			$_,
			'ROLLBACK',
			{
				update => [ 'updated|a|2|"s2"', 'a|"s2"|2' ],
				merge => [ '2', 'a|"s2"|2' ],
				put => [ '2', 'a|"s2"|2' ],
				create => [ 'exists|a|1|"setup"', 'a|"setup"|1' ],
				delete => [ 'deleted|a|1|"setup"', '' ],
				rename => [ 'renamed|b|2|"setup"', 'b|"setup"|2' ],
			}
		]
	} ($update, $delete));

# Let one call wait for the other; answer with what it is told.
sub race
{
	my ($prepared, $end, $level, $call) = @_;
	my ($out, $psql);

	$node->safe_psql('postgres', <<"SQL");
TRUNCATE obj;
INSERT INTO obj VALUES ('a', '"setup"');
BEGIN ISOLATION LEVEL $level;
SELECT $prepared;
PREPARE TRANSACTION 'holder';
SQL
	$psql = start [
		'psql', '-XAtq', '-d', $node->connstr('postgres'),
		map { ('-c', $_) } (
			'\set VERBOSITY sqlstate',
			"BEGIN ISOLATION LEVEL $level",
			"SELECT * FROM $call", 'COMMIT') ],
	  '>&', \$out,
	  IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	$node->poll_query_until('postgres', <<'SQL') or die 'it does not wait';
SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted
SQL
	$node->safe_psql('postgres', "$end PREPARED 'holder'");
	$psql->finish;
	chomp $out;
	return $out;
}

foreach my $race (@races)
{
	my ($prepared, $end, $expected) = @$race;

	foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
	{
		foreach my $name (sort keys %$expected)
		{
			my ($told, $left) = @{ $expected->{$name} };

			# what the winner has committed is all that there is then
			if ($end eq 'COMMIT' && $level ne 'READ COMMITTED')
			{
				$told = 'ERROR:  40001';
				$left = $prepared eq $update ? 'a|"s1"|2' : '';
			}
			is_deeply(
				[
					race($prepared, $end, $level, $calls{$name}),
					$node->safe_psql('postgres', 'TABLE obj')
				],
				[ $told, $left ],
				"$name after $end of $prepared, $level");
		}
	}
}

done_testing();
