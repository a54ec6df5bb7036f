# Claim: pools move to another cluster, by a dump or by logical replication,
# with their owners and grantees found by name; where a role is missing,
# nothing is lost: the extension's owner has the pool, the grant is nobody's,
# and who makes a role of that name later inherits nothing.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $key = "'00000000-0000-0000-0000-000000000001'";
my $source = pg_cas_node('source', { allows_streaming => 'logical' });
# The oids of the roles in the other clusters are not those of this one.
$source->safe_psql('postgres', "CREATE ROLE filler$_") foreach 1 .. 5;
$source->safe_psql('postgres', <<"SQL");
CREATE ROLE app_owner;
CREATE ROLE app_user;
CREATE ROLE gone_owner;
CREATE ROLE gone_user;
SELECT alloc_pool_create('kept', '{0-9}', 'int', owner => 'app_owner');
SELECT alloc_pool_create('lost', '{0-9}', 'int', owner => 'gone_owner');
SELECT alloc_grant('kept', 'app_user'), alloc_grant('kept', 'gone_user'),
	alloc_grant('lost', 'app_user'), alloc_grant('lost', 'gone_user');
SELECT alloc_int('kept', $key), alloc_int('lost', $key);
SQL

my $file = $source->basedir . '/dump';
$source->command_ok(
	[ 'pg_dump', '-f', $file, $source->connstr('postgres') ], 'a dump');

# What a role may do with a pool: own it, use it, or nothing.
sub may
{
	my ($node, $role, $pool) = @_;
	foreach my $try (
		[ 'own', "SELECT alloc_pool_set('$pool', cooldown => '0')" ],
		[ 'use', "SELECT count(*) FROM alloc_get('$pool', $key)" ])
	{
		my ($rc, $out, $err) =
		  $node->psql('target', "SET ROLE $role; $try->[1]");
		return $try->[0] if $rc == 0;
		die $err unless $err =~ /must be owner|permission denied/;
	}
	return 'nothing';
}

sub check_roles
{
	my ($node, $how) = @_;

	is($node->safe_psql('target',
			'SELECT pool, owner, granted FROM alloc_pools ORDER BY pool'),
		"kept|app_owner|{app_user}\nlost|${\$node->safe_psql('postgres', 'SELECT current_user')}|{app_user}",
		"$how: what there is has its roles, the rest is the extension's owner's");
	is(may($node, 'app_owner', 'kept'), 'own', "$how: the owner owns");
	is(may($node, 'app_user', 'kept'), 'use', "$how: a grantee uses");
	is(may($node, 'app_user', 'lost'), 'use', "$how: also where the owner is missing");
	is(may($node, 'app_owner', 'lost'), 'nothing', "$how: and no more");
	$node->safe_psql('postgres', 'CREATE ROLE gone_owner; CREATE ROLE gone_user');
	is(join(' ', map { may($node, @$_) }
			  [ 'gone_owner', 'lost' ], [ 'gone_user', 'lost' ], [ 'gone_user', 'kept' ]),
		'nothing nothing nothing', "$how: namesakes made later inherit nothing");
	is($node->safe_psql('target',
			"SELECT alloc_int('lost', $key); SELECT count(*) FROM alloc_verify()"),
		"0\n0", "$how: what was allocated is there");
	$node->safe_psql('target', "SELECT alloc_pool_set('lost', owner => 'gone_owner')");
	is(may($node, 'gone_owner', 'lost'), 'own', "$how: unless it is handed over");
}

my $target = PostgreSQL::Test::Cluster->new('target');
$target->init;
$target->start;
$target->safe_psql('postgres',
	'CREATE DATABASE target; CREATE ROLE app_user; CREATE ROLE app_owner');
$target->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $target->connstr('target') ],
	'is restored where roles are missing');
check_roles($target, 'dump');

# Renamed meanwhile: housekeeping writes the new names down.
$source->safe_psql('postgres',
	'ALTER ROLE gone_owner RENAME TO new_owner; SELECT pg_cas_reap()');
$source->command_ok(
	[ 'pg_dump', '-f', $file, $source->connstr('postgres') ], 'a dump after a role was renamed');
$target->safe_psql('postgres',
	'CREATE ROLE new_owner; DROP DATABASE target; CREATE DATABASE target');
$target->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $target->connstr('target') ],
	'is restored');
is(may($target, 'new_owner', 'lost'), 'own', 'the role has it under its new name');
is(may($target, 'gone_owner', 'lost'), 'nothing', 'who has its old name has not');

# The extension's owner need be no superuser, to whom everything is allowed.
$target->safe_psql('postgres', <<'SQL');
CREATE ROLE installer;
CREATE DATABASE owned OWNER installer;
SQL
$target->safe_psql('owned', <<"SQL");
CREATE ROLE leaver;
SET ROLE installer;
CREATE EXTENSION pg_cas;
RESET ROLE;
SELECT alloc_pool_create('left', '{0-9}', 'int', owner => 'leaver');
DROP ROLE leaver;
SET ROLE installer;
SELECT alloc_int('left', $key), alloc_pool_set('left', owner => 'installer');
SQL
is($target->safe_psql('owned', 'SELECT owner FROM alloc_pools'), 'installer',
	'the pool of a dropped role is handed over by the one who installed the extension');
$source->safe_psql('postgres', 'ALTER ROLE new_owner RENAME TO gone_owner; SELECT pg_cas_reap()');

# Logical replication, the first copy as well as what comes later.
my $replica = PostgreSQL::Test::Cluster->new('replica');
$replica->init;
$replica->start;
$replica->safe_psql('postgres',
	'CREATE DATABASE target; CREATE ROLE app_user; CREATE ROLE app_owner');
$replica->safe_psql('target', 'CREATE EXTENSION pg_cas');
my @tables = map { "cas_internal.alloc_$_" } qw(pool grantee range reserved slot frontier past);
$source->safe_psql('postgres', 'CREATE PUBLICATION pub FOR TABLE ' . join(', ', @tables));
$source->safe_psql('postgres', "SELECT alloc_revoke('kept', 'app_user')");
my $connection = $source->connstr . ' dbname=postgres';
$replica->safe_psql('target',
	"CREATE SUBSCRIPTION sub CONNECTION '$connection' PUBLICATION pub");
$replica->wait_for_subscription_sync($source, 'sub', 'target');
is($replica->safe_psql('target', 'SELECT granted FROM alloc_pools ORDER BY pool'),
	"{}\n{app_user}", 'replication: copied');
$source->safe_psql('postgres', "SELECT alloc_grant('kept', 'app_user')");
$source->wait_for_catchup('sub');
check_roles($replica, 'replication');
$source->safe_psql('postgres', "SELECT alloc_pool_set('kept', owner => 'gone_owner')");
$source->wait_for_catchup('sub');
is(may($replica, 'gone_owner', 'kept'), 'own', 'replication: a new owner by name');
is(may($replica, 'app_owner', 'kept'), 'nothing', 'replication: the former one is out');
$source->safe_psql('postgres', "SELECT alloc_revoke('kept', 'app_user')");
$source->wait_for_catchup('sub');
is(may($replica, 'app_user', 'kept'), 'nothing', 'replication: what is revoked is gone');

done_testing();
