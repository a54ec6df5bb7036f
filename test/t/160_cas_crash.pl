# Claim: a version that a client was told of is there after the server died,
# at any moment, and no version comes a second time for another content: of
# one row, and of a table whose versions are the table's, also if a crash has
# emptied it and set its sequence back.  Nor do a table's versions and the
# generations of units come again after a crash takes back what was committed
# asynchronously.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

seed(1);
my $node = pg_cas_node('main', 'synchronous_commit = on');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE counter (id text PRIMARY KEY, d jsonb);
CREATE TABLE queue (id int PRIMARY KEY, d jsonb);
SELECT cas_enable('counter', payload_column => 'd', version_path => '{v}');
SELECT cas_enable('queue', payload_column => 'd', writers => 'echo', versions => 'table');
SELECT cas_create('counter', 'a', '{}');
SQL

# The settings are the server's from its start; a clean restart changes
# nothing.
my $tables = 'SELECT cas_tables FROM cas_tables ORDER BY rel';
my $before = $node->safe_psql('postgres', $tables);
$node->restart;
is($node->safe_psql('postgres', $tables), $before, 'settings after a restart');

# A psql that swaps one row, and creates and deletes another, over and over,
# each statement a transaction, and says what it was told.
my $script = PostgreSQL::Test::Utils::tempdir . '/script';
append_to_file($script, <<'SQL' x 2000);
SELECT 'counter', cas_merge('counter', 'a', jsonb_build_object('n', random()));
SELECT 'queue', cas_put('queue', 1, jsonb_build_object('n', random()));
SELECT 'deleted', cas_delete('queue', 1, version) FROM cas_get('queue', 1);
SQL

my %greatest = (counter => 1, queue => 0);
foreach my $crash (1 .. 3)
{
	my $output = '';
	my $client = IPC::Run::start(
		[ 'psql', '-XAtq', '-f', $script, '-d', $node->connstr('postgres') ],
		'<', \undef, '>', \$output, '2>', \my $errors);

	$client->pump until $output =~ /(.*\n){30}/;
	usleep(100_000 * rand);
	$node->stop('immediate');
	$client->finish;
	$node->start;

	# what it was told, in order; versions of one kind only ever grow
	my %told = (counter => [ $greatest{counter} ], queue => [ $greatest{queue} ]);
	foreach (split /\n/, $output)
	{
		push @{ $told{$1} }, $2 if /^(counter|queue)\|(\d+)$/;
	}
	foreach my $kind (sort keys %told)
	{
		my @versions = @{ $told{$kind} };

		note("crash $crash: $kind: told of ", $#versions, ', the last ',
			$versions[-1]);
		is_deeply([ grep { $versions[$_] <= $versions[ $_ - 1 ] } 1 .. $#versions ],
			[], "crash $crash: $kind: every version is new");
		$greatest{$kind} = $versions[-1];
	}

	my ($version, $path) = split /\|/,
	  $node->safe_psql('postgres',
		q{SELECT resource_version, d ->> 'v' FROM counter});
	cmp_ok($version, '>=', $greatest{counter}, "crash $crash: nothing told is lost");
	cmp_ok($version, '<=', $greatest{counter} + 1, "crash $crash: or invented");
	is($path, $version, "crash $crash: the document says the same");
	$greatest{counter} = $version;

	# the first version after the crash is beyond all that anyone has seen
	my $next = $node->safe_psql('postgres',
		q{SELECT cas_put('queue', 1, '{"after": "crash"}')});
	cmp_ok($next, '>', $greatest{queue}, "crash $crash: the sequence goes on");
	$greatest{queue} = $next;
	is( $node->safe_psql(
			'postgres', q{SELECT outcome FROM cas_try_update('counter', 'a', }
			  . ($version - 1) . q{, '{}')}),
		'conflict', "crash $crash: a stale version");
}

# An unlogged table is empty after a crash.  SET UNLOGGED makes its sequence
# unlogged, too, which a crash sets back to what it was then.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE volatile (id int PRIMARY KEY, n int);
SELECT cas_enable('volatile', writers => 'echo', versions => 'table');
SELECT cas_create('volatile', 1, '{}'), cas_create('volatile', 2, '{}');
ALTER TABLE volatile SET UNLOGGED;
SQL
my $greatest = 2;
foreach my $crash (1 .. 2)
{
	foreach my $n (1 .. 3)
	{
		my $version = $node->safe_psql('postgres',
			qq{SELECT cas_put('volatile', 1, '{"n": $n}')});

		cmp_ok($version, '>', $greatest, "unlogged, crash $crash: version $n is new");
		$greatest = $version;
	}
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->stop('immediate');
	$node->start;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM volatile'), 0,
		"unlogged, crash $crash: the table is empty");
}

# An asynchronous commit is lost with what the WAL writer has not written yet;
# the numbers that were told are not.
$node->append_conf('postgresql.conf', "wal_writer_delay = '10s'\nautovacuum = off");
$node->restart;
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE late (id int PRIMARY KEY, n int);
CREATE TABLE small (id int PRIMARY KEY, n int, v int NOT NULL DEFAULT 1);
SELECT cas_enable('late', writers => 'echo', versions => 'table');
SELECT cas_enable('small', 'v', writers => 'echo', versions => 'table');
SELECT cas_create('late', 1, '{}'), cas_create('small', 1, '{}');
SELECT alloc_pool_create('p', '{1-9}', 'int'), alloc_int('p', alloc_key('first'));
SQL
foreach my $way ('SET', 'BEGIN; SET LOCAL')
{
	my $numbers = q{SELECT cas_merge('late', 1, jsonb_build_object('n', (random() * 1e9)::int)), }
	  . q{cas_merge('small', 1, jsonb_build_object('n', (random() * 1e9)::int)), }
	  . q{(SELECT generation FROM alloc_try_int('p', gen_random_uuid()))};
	my $units = q{SELECT count(*) FROM alloc_units WHERE pool = 'p'};
	my $before = $node->safe_psql('postgres', $units);

	# after this, a change is logged anew
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $setting = 'synchronous_commit = off';
	my $answer = $node->safe_psql('postgres',
		$way eq 'SET'
		? "SET $setting; $numbers"
		: "BEGIN; $numbers; SET LOCAL $setting; COMMIT");
	$node->stop('immediate');
	$node->start;

	my @told = split /\|/, $answer;
	is($node->safe_psql('postgres', $units), $before, "$way: the commit is lost");
	my @now = split /\|/, $node->safe_psql('postgres', $numbers);
	foreach my $i (0 .. 2)
	{
		cmp_ok($now[$i], '>', $told[$i],
			"$way: number of " . (qw(late small p))[$i] . ' is new');
	}
}

done_testing();
