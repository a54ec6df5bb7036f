# Names of locks come and go without a trace of what has been: pages are the
# same on a standby, a place is taken by another name, a dump can be restored.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('primary', { allows_streaming => 1 },
	'wal_consistency_checking = all', 'autovacuum = off',
	'wal_log_hints = off');
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;

sub take
{
	my ($from, $to) = @_;

	return qq{
		BEGIN;
		SELECT count(fence) FROM lock_acquire((SELECT array_agg('n' || i)
			FROM generate_series($from, $to) AS i));
		COMMIT;};
}

# New names among old ones, whose hint bits are set on the primary alone; some
# are purged, their places cleaned and taken by others.  The session goes on
# where it knows names to be.
my $places = q{SELECT count(DISTINCT ctid) = count(*) FROM cas_internal.lock_name;};
my $out = $node->safe_psql('postgres', join "\n",
	take(1, 50), $places, take(51, 60), take(1, 50),
	'BEGIN; SELECT fence FROM lock_acquire(\'{kept}\'); ROLLBACK;',
	'SELECT pg_cas_reap();', $places,
	'VACUUM cas_internal.lock_name;',
	take(201, 280), $places, take(281, 290), take(1, 50), take(201, 260),
	'VACUUM cas_internal.lock_name;', take(1, 300));
is((split /\n/, $out)[-1], 300, 'all names are taken');
is( $node->safe_psql('postgres', q{
		SELECT count(*), count(DISTINCT name), count(DISTINCT fence),
			min(fence) > 0 FROM cas_internal.lock_name WHERE name ~ '^n[0-9]+$'}),
	'300|300|300|t', 'each has a row and a fence of its own');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is( $standby->safe_psql('postgres',
		'SELECT count(*), sum(fence) FROM cas_internal.lock_name'),
	$node->safe_psql('postgres', 'SELECT count(*), sum(fence) FROM cas_internal.lock_name'),
	'a standby has them too');
unlike(slurp_file($standby->logfile), qr/inconsistent page/,
	'with the same pages');

# A snapshot that stands between a name's purge and its making sees two rows of
# it.  A dump made under it has none, and fences of locks and leases go on.
my $old = $node->background_psql('postgres');
my $snapshot = $old->query_safe(
	'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()');
$node->safe_psql('postgres', 'SELECT pg_cas_reap();' . take(1, 50));
is( $old->query_safe(q{SELECT max(count) FROM
		(SELECT count(*) FROM cas_internal.lock_name GROUP BY name) AS n}),
	'2', 'an old snapshot sees a name twice');
my $lease = $node->safe_psql('postgres',
	q{SELECT lease_acquire('job', 'one', '1h')});
my $last = $node->safe_psql('postgres', 'SELECT max(fence) FROM cas_internal.lock_name');
foreach my $when ([ 'under the old snapshot', "--snapshot=$snapshot" ],
	['of now'])
{
	my ($title, @snapshot) = @$when;
	my $dump = $node->basedir . '/dump';

	$node->command_ok(
		[ 'pg_dump', '-F', 'custom', '-f', $dump, @snapshot, 'postgres' ],
		"a dump $title");
	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	$node->command_ok([ 'pg_restore', '-e', '-d', 'restored', $dump ],
		"is restored");
	is($node->safe_psql('restored', 'SELECT count(*) FROM cas_internal.lock_name'),
		'0', 'without the names of locks');
	cmp_ok(
		(split /\n/, $node->safe_psql('restored', take(1, 50) .
				q{ SELECT min(fence) FROM cas_internal.lock_name}))[-1],
		'>', $last, 'whose fences go on');
	cmp_ok(
		$node->safe_psql('restored',
			q{SELECT lease_acquire('job', 'one', '1h')}),
		'>', $lease, 'as do those of leases');
	$node->safe_psql('postgres', 'DROP DATABASE restored');
}
$old->quit;

$standby->stop;
$node->stop;
done_testing();
