# Claim: a database is upgraded by logical replication, from the same major
# version and from an older one, while it is used, as docs/operations.md says:
# with the schema of a dump, a publication of all tables except those of locks and
# leases, the leases of a dump, and pg_cas_promoted() before the application
# connects to the subscriber.  Everything has been taken along, everything works,
# and fences, generations and table-wide versions go on above all earlier ones;
# without pg_cas_promoted() they do not.
use strict;
use warnings;

use PgCas;
use PgCasContents;
use PgCasOlder;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What the application does while rows are copied, and after that; the keys
# begin with this letter.
sub use_it
{
	my ($contents, $letter) = @_;
	my $key = "md5('$letter' || i)::uuid";

	$contents->ask($_) =~ /^\w{5}$/ and die $_ foreach
	  qq{SELECT alloc_int('many', $key) FROM generate_series(1, 20) AS i},
	  qq{SELECT alloc_release('many', $key) FROM generate_series(1, 20, 2) AS i},
	  qq{SELECT cas_create('tab', '$letter' || i, '{}'), cas_merge('doc', 'b', jsonb_build_object('$letter', i))
		FROM generate_series(1, 20) AS i},
	  qq{SELECT cas_delete('tab', id, version) FROM cas_get('tab', '${letter}20')},
	  qq{BEGIN; SELECT lock_acquire('{resource, $letter}'); COMMIT},
	  qq{SELECT lease_acquire('$letter', 'worker', '1 day')},
	  qq{SELECT lease_release('$letter', fence) FROM lease_holders WHERE name = '$letter'},
	  qq{SELECT request_once('orders', '$letter', '{}', 'once(jsonb)')},
	  qq{SELECT alloc_pool_create('$letter', '{1-10}', 'int'), alloc_int('$letter', gen_random_uuid())};
	return;
}

# What docs/operations.md says to publish.
my ($publication) = slurp_file('docs/operations.md') =~ /^```\n(SELECT [^`]*CREATE PUBLICATION.*?)^```/ms;

sub upgrade
{
	my ($old, $name) = @_;
	my $contents = PgCasContents->new($old);
	my $new = PostgreSQL::Test::Cluster->new('new_' . $old->name);
	my $upgraded = PgCasContents->new($new);
	my ($dump, $leases) = map { "$PostgreSQL::Test::Utils::tmp_check/" . $old->name . $_ } '.sql', '.leases';

	$new->init;
	$new->start;
	foreach ($contents, $upgraded)
	{
		$_->make_roles;
		$_->{node}->safe_psql('postgres', 'CREATE DATABASE shop OWNER app');
	}
	$contents->make;
	use_it($contents, 'x');

	# the schema, then the rows
	command_ok([ 'pg_dump', '--schema-only', '-f', $dump, '-d', $old->connstr('shop') ],
		"$name: a dump of the schema");
	command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $new->connstr('shop') ],
		"$name: is restored");
	$old->safe_psql('shop', $publication);
	$new->safe_psql('shop', q{CREATE SUBSCRIPTION everything CONNECTION '}
		  . $old->connstr('shop') =~ s/'/''/gr . q{' PUBLICATION everything});
	use_it($contents, 'y');
	$new->wait_for_subscription_sync($old, 'everything', 'shop');
	use_it($contents, 'z');

	# The application is stopped, and the subscriber has got everything.
	my $before = $contents->state;
	my @numbers = $contents->draw;
	$old->wait_for_catchup('everything');
	$new->safe_psql('shop', 'DROP SUBSCRIPTION everything');
	command_ok([ 'pg_dump', '--data-only', '-t', 'cas_internal.lease_state', '-f', $leases,
			'-d', $old->connstr('shop') ], "$name: a dump of the leases");
	command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $leases, '-d', $new->connstr('shop') ],
		"$name: is restored");
	is($upgraded->state, $before, "$name: everything is as it was");
	$old->stop;

	# Without the cure, fences and generations fall, and versions are refused.
	my @fallen = split /\n/, $upgraded->ask(q{BEGIN; SELECT fence FROM lock_acquire('{fallen}');
		SELECT generation FROM alloc_many('many', ARRAY[gen_random_uuid()]); ROLLBACK});
	cmp_ok($fallen[0], '<', $numbers[0], "$name: without pg_cas_promoted, fences fall");
	cmp_ok($fallen[1], '<', $numbers[2], "$name: and generations");
	is($upgraded->ask(q{SELECT cas_create('tab', 'fallen', '{}')}), '55000',
		"$name: versions are refused");
	is($upgraded->ask(q{SELECT alloc_pool_create('fallen', '{1}', 'int')}), '23505',
		"$name: pools are as well");

	cmp_ok($upgraded->ask('SELECT pg_cas_promoted()'), '>', $numbers[0], "$name: pg_cas_promoted");
	$upgraded->rises($name, @numbers);
	$upgraded->works($name);
	$new->stop;
	return;
}

upgrade(pg_cas_node('same', { allows_streaming => 'logical' }), 'the same version');
SKIP:
{
	my $old = pg_cas_older('older', 'wal_level = logical', 'max_wal_senders = 10')
	  or skip 'no older server that pg_cas supports is installed', 1;

	upgrade($old, 'from ' . $old->pg_version);
}
done_testing();
