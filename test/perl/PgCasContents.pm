# PgCasContents.pm: a database with all that pg_cas can keep in one, and what
# must be true of it wherever it was moved to: by pg_upgrade, by a dump, by
# logical replication, or into another schema.
package PgCasContents;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use Test::More;

# The nth key.
sub key
{
	my ($n) = @_;
	return sprintf "'00000000-0000-4000-8000-%012d'", $n;
}
my ($k1, $k2, $k3, $k4, $k5) = map { key($_) } 1 .. 5;

# A database of a node, in which the role app, who is no superuser, owns
# everything: its tables in one schema, the extension in another.
sub new
{
	my ($class, $node, %with) = @_;

	return bless {
		node => $node, database => 'shop', owner => 'app',
		tables => 'goods', functions => 'cas', %with
	}, $class;
}

# Run SQL as a role, by default the owner, and return what it answers, or the
# SQLSTATE; with what psql says on standard error, if there is no error.
sub ask
{
	my ($self, $sql, $role) = @_;
	my ($out, $err);

	$self->{node}->psql($self->{database},
		"SET search_path = $self->{tables}, $self->{functions};\n$sql",
		stdout => \$out, stderr => \$err,
		extra_params => [ '-U', $role // $self->{owner}, '-v', 'VERBOSITY=sqlstate' ]);
	return $1 if $err =~ /ERROR:  (\w{5})/;
	die "$sql: $err" if $err =~ /(ERROR|FATAL|PANIC)/;
	return join "\n", grep { $_ ne '' } $out, $err;
}

# The roles are the cluster's.
sub make_roles
{
	my ($self) = @_;

	$self->{node}->safe_psql('postgres', $_) foreach
	  'CREATE ROLE app LOGIN', 'CREATE ROLE team', 'GRANT team TO app',
	  'CREATE ROLE guest LOGIN', 'CREATE ROLE stranger LOGIN';
	return;
}

# Tables of each setting, and rows in them.
my $rows = <<"SQL";
CREATE TABLE doc (id text PRIMARY KEY, d jsonb);
CREATE TABLE tab (id text PRIMARY KEY, d jsonb);
CREATE TABLE col (a int, b uuid, n int, seen timestamptz, v smallint NOT NULL DEFAULT 1,
	PRIMARY KEY (a, b));
CREATE TABLE part (id int PRIMARY KEY, d jsonb) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200);
CREATE TABLE dry (id int PRIMARY KEY, n int);
CREATE TABLE big (id bigint PRIMARY KEY, n numeric);
CREATE TABLE parcel (id int PRIMARY KEY, repo text, n int);
CREATE TABLE done (id int PRIMARY KEY, n int);
SELECT cas_enable('doc', payload_column => 'd', unversioned => 'reject', version_path => '{meta,version}');
SELECT cas_enable('tab', payload_column => 'd', writers => 'echo', versions => 'table');
SELECT cas_enable('col', version_column => 'v', ignore_columns => '{seen}');
SELECT cas_enable('part', payload_column => 'd', writers => 'echo');
SELECT cas_enable('dry', enforce => 'warn');
SELECT cas_enable('big', big_numbers => 'string');
SELECT cas_enable('parcel'), lock_protect('parcel', 'repo:{repo}');
SELECT cas_enable('done');
SELECT cas_disable('done');
SELECT cas_create('doc', 'a', '{}'), cas_update('doc', 'a', 1, '{"n": 1}'), cas_create('doc', 'b', '{}');
SELECT cas_create('tab', 'a', '{}'), cas_create('tab', 'b', '{}'), cas_delete('tab', 'b', 2);
SELECT cas_create('col', '{"a": 1, "b": "00000000-0000-4000-8000-000000000001"}', '{"n": 1}');
SELECT cas_create('part', 1, '{}'), cas_create('part', 101, '{}'), cas_update('part', 101, 1, '{"n": 1}');
SELECT cas_create('dry', 1, '{"n": 1}'), cas_create('big', 1, '{"n": 12345678901234567890}');
BEGIN; SELECT lock_acquire('{repo:x}'); INSERT INTO parcel VALUES (1, 'x', 1); COMMIT;
CREATE FUNCTION bump(d jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS
	\$\$SELECT jsonb_set(d, '{n}', to_jsonb((d ->> 'n')::int + 1))\$\$;
CREATE VIEW shown AS SELECT * FROM cas_get('doc', 'a');
CREATE FUNCTION number_of(key uuid) RETURNS bigint LANGUAGE sql
	BEGIN ATOMIC SELECT alloc_int('numbers', \$1); END;
SQL

# Pools of each kind and strategy, in use: with units that cool down, that have
# expired, that are reserved; with a range that is drained.
my $pools = <<"SQL";
SELECT alloc_pool_create('addresses', '{10.0.0.0/29, 10.1.0.5-10.1.0.9}', strategy => 'lowest', cooldown => '1 day');
SELECT alloc_reserve('addresses', '10.0.0.1', '{"for": "router"}'), alloc_grant('addresses', 'guest');
SELECT alloc_ip('addresses', $k1, note => '{"a": 1}'), alloc_ip('addresses', $k2), alloc_ip('addresses', $k3);
SELECT alloc_release('addresses', $k2);
SELECT alloc_ip('addresses', $k2);
SELECT alloc_release('addresses', $k3);
SELECT alloc_pool_create('six', '{2001:db8::/64}', strategy => 'random');
SELECT alloc_ip('six', $k1);
SELECT alloc_pool_create('nets', '{10.2.0.0/24}', 'prefix', cooldown => '1 day');
SELECT alloc_prefix('nets', $k1, 28), alloc_prefix('nets', $k2, 26), alloc_prefix('nets', $k3, 27);
SELECT alloc_release('nets', $k3);
SELECT alloc_pool_create('nat', '{192.0.2.0/30}', port_chunk => 16384);
SELECT alloc_ports('nat', $k1), alloc_ip('nat', $k2);
SELECT alloc_pool_create('numbers', '{1-5}', 'int', cooldown => '1 day');
SELECT alloc_int('numbers', $k1), alloc_int('numbers', $k3), alloc_int('numbers', $k2, ttl => '1 us');
SELECT alloc_release('numbers', $k3);
SELECT alloc_pool_create('drained', '{1-3, 10-12}', 'int');
SELECT alloc_int('drained', $k1, 11), alloc_pool_shrink('drained', '10-12', drain => true);
SELECT alloc_pool_create('theirs', '{1-10}', 'int', owner => 'team');
SELECT alloc_int('theirs', $k1, ttl => '1 day');
SELECT alloc_pool_create('many', '{1-2000}', 'int');
SELECT count(*) FROM alloc_many('many', ARRAY(SELECT md5(i::text)::uuid FROM generate_series(1, 300) AS i));
SELECT count(alloc_release('many', md5(i::text)::uuid)) FROM generate_series(1, 300, 2) AS i;
SQL

# Locks, leases and requests.
my $claims = <<"SQL";
BEGIN; SELECT lock_acquire('{resource}', '{another}'); COMMIT;
SELECT lease_acquire('held', 'worker', '1 day');
SELECT lease_acquire('late', 'worker', '1 us');
SELECT lease_acquire('free', 'worker', '1 day');
SELECT lease_release('free', fence) FROM lease_holders WHERE name = 'free';
SELECT lease_acquire('theirs', 'worker', '1 day');
SELECT lease_set_owner('theirs', 'team');
CREATE TABLE ran (request jsonb);
CREATE FUNCTION once(request jsonb) RETURNS jsonb LANGUAGE sql AS
	'INSERT INTO ran VALUES (request) RETURNING request';
SELECT request_once('orders', 'first', '{"n": 1}', 'once(jsonb)');
BEGIN; SELECT request_begin('orders', 'second', '{"n": 2}'); SELECT request_done('orders', 'second', '2'); COMMIT;
SELECT request_scope_set('theirs', 'team', '-1 day');
SELECT request_once('theirs', 'first', '{}', 'once(jsonb)');
SQL

# Make it all, in a database that is there.
sub make
{
	my ($self) = @_;

	$self->ask("CREATE SCHEMA $self->{$_}") foreach 'tables', 'functions';
	foreach ("CREATE EXTENSION pg_cas SCHEMA $self->{functions}", $rows, $pools, $claims)
	{
		my $answer = $self->ask($_);
		die "$_: $answer" if $answer =~ /^\w{5}$/;
	}
	return;
}

# Queries for what is there.  Nothing in the answers depends on the time, or on
# the schemas.
our $state = <<"SQL";
SELECT * FROM cas_tables ORDER BY rel::text;
SELECT 'doc', * FROM doc ORDER BY id;
SELECT 'tab', * FROM tab ORDER BY id;
SELECT 'col', * FROM col ORDER BY a;
SELECT 'part', tableoid::regclass, * FROM part ORDER BY id;
SELECT 'dry', * FROM dry;
SELECT 'big', * FROM cas_get('big', 1);
SELECT 'parcel', * FROM parcel;
SELECT 'shown', * FROM shown;
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
	WHERE tgfoid = ANY ('{cas_guard,cas_witness,cas_truncate,lock_protect_trigger}'::regproc[])
	ORDER BY tgrelid::regclass::text, tgname;
SELECT * FROM alloc_pools ORDER BY pool;
SELECT * FROM alloc_units ORDER BY pool, key;
SELECT * FROM alloc_history ORDER BY generation;
SELECT * FROM alloc_reservations;
SELECT * FROM alloc_usage() ORDER BY pool;
SELECT * FROM lease_holders ORDER BY name;
SELECT 'ran', * FROM ran ORDER BY request::text;
SELECT request_once('orders', 'first', '{"n": 1}', 'once(jsonb)');
SELECT request_once('theirs', 'first', '{}', 'once(jsonb)');
BEGIN; SELECT request_begin('orders', 'second', '{"n": 2}'); COMMIT;
SQL

# The answers, for a role.
sub state
{
	my ($self, $role) = @_;

	return $self->ask($state, $role);
}

# Draw a fence, a version and a generation, and roll back.
sub draw
{
	my ($self) = @_;
	my @numbers = split /\n/, $self->ask(<<"SQL");
BEGIN;
SELECT fence FROM lock_acquire('{resource}');
SELECT cas_create('tab', 'new', '{}');
SELECT generation FROM alloc_many('many', ARRAY[$k4]::uuid[]);
ROLLBACK;
SQL
	return @numbers;
}

# Numbers that are drawn now are larger than those.
sub rises
{
	my ($self, $name, @before) = @_;
	my @kinds = ('fences', 'versions', 'generations');
	my @after = $self->draw;

	cmp_ok($after[$_], '>', $before[$_], "$name: $kinds[$_] rise") foreach 0 .. 2;
	return;
}

# Calls, and what they answer.
my @works = (
	# versions go on, and the guard is on
	q{UPDATE doc SET d = '{"n": 2}' WHERE id = 'a'} => 'PT428',
	q{UPDATE doc SET d = '{"n": 2}', resource_version = 2 WHERE id = 'a'} => 'PT409',
	q{SELECT cas_try_update('doc', 'a', 1, '{}')} => qr/^\(conflict,a,2,/,
	q{SELECT cas_update('doc', 'a', 2, '{"n": 2}')} => 3,
	q{SELECT d -> 'meta' ->> 'version' FROM doc WHERE id = 'a'} => 3,
	q{SELECT cas_patch('doc', 'a', 3, '{"m": 1}'), cas_merge('doc', 'a', '{"m": 2}')} => '4|5',
	q{SELECT cas_apply('doc', 'a', 'bump(jsonb,jsonb)')} => 6,
	q{SELECT * FROM shown} => 'a|6|{"m": 2, "n": 3, "meta": {"version": 6}}',
	q{SELECT cas_put('doc', 'c', '{}'), cas_create('doc', 'd', '{}')} => '1|1',
	q{SELECT cas_rename('doc', 'c', 1, 'e'), cas_delete('doc', 'd', 1)} => '2|1',
	q{SELECT cas_try_create('doc', 'a', '{}')} => qr/^\(exists,a,6,/,
	q{SELECT outcome FROM cas_try_patch('doc', 'a', 6, '{"m": 3}')} => 'updated',
	q{SELECT outcome FROM cas_try_rename('doc', 'e', 2, 'f')} => 'renamed',
	q{SELECT outcome FROM cas_try_delete('doc', 'f', 3)} => 'deleted',
	q{SELECT cas_txn('[{"table": "doc", "id": "a", "version": 7}]',
		'[{"op": "patch", "table": "doc", "id": "a", "patch": {"m": 4}}]') ->> 'succeeded'} => 'true',
	q{SELECT version FROM cas_lock('doc', '{a}'::text[])} => 8,
	q{UPDATE tab SET d = '{"n": 1}', resource_version = 0 WHERE id = 'a'} => 'PT409',
	q{SELECT cas_update('tab', 'a', 1, '{"n": 1}') > 2} => 't',
	q{UPDATE col SET seen = now() RETURNING v} => 1,
	q{UPDATE col SET n = 2 RETURNING v} => 2,
	q{UPDATE col SET n = 3, v = 2} => 'PT409',
	q{UPDATE part SET d = '[]', resource_version = 1 WHERE id = 101} => 'PT409',
	q{UPDATE part_2 SET d = '[]' WHERE id = 101 RETURNING resource_version} => 3,
	q{UPDATE part SET id = 102 WHERE id = 1 RETURNING resource_version} => 2,
	q{UPDATE dry SET n = 2, resource_version = 9 RETURNING resource_version} => qr/^2\n.*WARNING:  PT409/s,
	q{SELECT payload FROM cas_get('big', 1::bigint)} => '{"n": "12345678901234567890"}',
	q{SELECT cas_get('done', 1)} => 'PT400',
	q{SELECT cas_enable('done'), cas_create('done', 1, '{"n": 1}')} => '|1',
	q{SELECT count(*) FROM cas_tables WHERE problem IS NOT NULL} => 0,

	# a key has its unit, others get what is free
	"SELECT alloc_ip('addresses', $k1), alloc_ip('addresses', $k2)" => '10.0.0.2|10.0.0.5',
	"SELECT alloc_ip('addresses', $k4)" => '10.0.0.6',
	"SELECT alloc_ip('addresses', $k5, '10.0.0.2')" => 'PT409',
	"SELECT alloc_release('addresses', $k2, 1)" => 'PT412',
	"SELECT outcome, value FROM alloc_try_ip('addresses', $k5)" => 'allocated|10.1.0.5',
	"SELECT count(*) FROM alloc_units WHERE pool = 'six' AND alloc_ip('six', key) = address" => 1,
	"SELECT alloc_prefix('nets', $k1, 28), alloc_prefix('nets', $k2, 26)" => '10.2.0.0/28|10.2.0.64/26',
	"SELECT outcome FROM alloc_try_prefix('nets', $k4, 24)" => qr/^(cooling|fragmented|exhausted)$/,
	"SELECT * FROM alloc_ports('nat', $k1)" => qr/^192\.0\.2\.\d\|/,
	"SELECT outcome FROM alloc_try_ports('nat', $k4)" => 'allocated',
	"SELECT alloc_int('numbers', $k1), number_of($k4), number_of($k5)" => qr/^1\|[34]\|[345]$/,
	"SELECT outcome FROM alloc_try_int('numbers', $k2)" => 'allocated',
	"SELECT outcome FROM alloc_try_int('numbers', $k3)" => 'cooling',
	"SELECT alloc_int('numbers', $k3)" => 'PT507',
	"SELECT alloc_int('drained', $k2) IN (1, 2, 3), alloc_release('drained', $k1)" => 't|t',
	"SELECT ranges, draining FROM alloc_pools WHERE pool = 'drained'" => '{1-3}|{}',
	"SELECT alloc_int('theirs', $k1), alloc_renew('theirs', $k1, '2 days') > now()" => '1|t',
	"SELECT count(*), count(DISTINCT value) FROM alloc_many('many',
		ARRAY(SELECT md5(i::text)::uuid FROM generate_series(1, 1000) AS i))" => '1000|1000',
	"SELECT key FROM alloc_find('addresses', '10.0.0.2')" => $k1 =~ s/'//gr,
	q{SELECT count(*) FROM alloc_free('nets'), alloc_map('nets')} => qr/^[1-9]/,
	q{SELECT alloc_unreserve('addresses', '10.0.0.1'), alloc_pool_grow('addresses', '10.3.0.0/24'),
		alloc_pool_set('addresses', 'any'), alloc_pool_shrink('addresses', '10.3.0.0/24')} => '|||',
	q{SELECT alloc_revoke('addresses', 'guest'), alloc_grant('addresses', 'guest')} => '|',
	q{SELECT alloc_rebuild(pool) FROM alloc_pools} => '',
	q{SELECT alloc_pool_create('new', '{1-10}', 'int'), alloc_pool_drop('new')} => '|',
	q{SELECT * FROM alloc_verify()} => '',

	# locks, leases, requests
	q{UPDATE parcel SET n = 2} => 'PT428',
	q{BEGIN; SELECT name FROM lock_acquire('{repo:x}'); SELECT lock_assert('repo:x');
		UPDATE parcel SET n = 2 RETURNING resource_version; COMMIT} => qr/^repo:x\n+2$/,
	q{BEGIN; SELECT lock_try_acquire('{resource}'); SELECT name, waiting FROM lock_holders; COMMIT} => "t\nresource|f",
	q{SELECT lock_unprotect('parcel'), lock_protect('parcel', 'parcel:{id}')} => '|',
	q{SELECT lease_acquire('held', 'other', '1 day')} => 'PT423',
	q{SELECT lease_guard('held', fence), lease_renew('held', fence, '2 days') > now()
		FROM lease_holders WHERE name = 'held'} => '|t',
	q{SELECT lease_guard('held', fence - 1) FROM lease_holders WHERE name = 'held'} => 'PT412',
	q{SELECT holder, expires_at > now() FROM lease_try_acquire('held', 'other', '1 day')} => 'worker|t',
	q{SELECT lease_acquire('late', 'other', '1 day') > max(fence) FROM lease_holders} => 't',
	q{SELECT lease_acquire('free', 'other', '1 day') > max(fence) FROM lease_holders} => 't',
	q{SELECT lease_release(name, fence) FROM lease_holders} => "t\nt\nt\nt",
	q{SELECT request_once('orders', 'first', '{"n": 2}', 'once(jsonb)')} => 'PT422',
	q{SELECT request_once('orders', 'third', '{"n": 3}', 'once(jsonb)')} => '{"n": 3}',
	q{BEGIN; SELECT state FROM request_begin('orders', 'fourth', '{}');
		SELECT request_done('orders', 'fourth', '4'); COMMIT} => "new\n",
	q{SELECT count(*) FROM ran WHERE request IN ('{"n": 1}', '{"n": 2}', '{"n": 3}')} => 2,
	q{BEGIN; SELECT request_claim('one'); SELECT request_claim('one'); COMMIT} => '',
	q{SELECT request_scope_set('theirs', retention => '1 day')} => '',
	q{SELECT lock_fence_advance(1)} => '',
	q{SELECT pg_cas_reap() > 0, pg_cas_promoted() > 0} => 't|t',
	q{SELECT pg_cas_version() = extversion FROM pg_extension WHERE extname = 'pg_cas'} => 't',
	q{SELECT * FROM alloc_verify()} => '');

# Everything works; and it is changed by that.
sub works
{
	my ($self, $name) = @_;
	my $all = q{
		SELECT fmgr_c_validator(p.oid) FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
		JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'pg_cas'
		WHERE l.lanname = 'c'};

	$self->{node}->safe_psql($self->{database}, 'GRANT USAGE ON SCHEMA '
		  . "$self->{tables}, $self->{functions} TO guest, stranger");
	foreach (
		[ 'guest', "SELECT alloc_ip('addresses', $k1)", '10.0.0.2' ],
		[ 'guest', q{SELECT alloc_pool_set('addresses', 'any')}, '42501' ],
		[ 'stranger', "SELECT alloc_ip('addresses', $k1)", '42501' ],
		[ 'stranger', q{SELECT lease_acquire('held', 'worker', '1 day')}, '42501' ],
		[ 'stranger', q{BEGIN; SELECT request_begin('orders', 'fifth', '{}')}, '42501' ],
		[ 'stranger', q{SELECT pg_cas_reap()}, '42501' ])
	{
		is($self->ask($_->[1], $_->[0]), $_->[2], "$name: the $_->[0], $_->[1]");
	}
	for (my $i = 0; $i < @works; $i += 2)
	{
		my ($sql, $expected) = @works[ $i, $i + 1 ];
		my $what = "$name: " . substr($sql, 0, 70) =~ s/\s+/ /gr;
		my $answer = $self->ask($sql) =~ s/^\n+//r;

		ref $expected
		  ? like($answer, $expected, $what)
		  : is($answer, $expected, $what);
	}
	like($self->{node}->safe_psql($self->{database}, $all), qr/^\n*$/,
		"$name: the library has all functions");
	return;
}

1;
