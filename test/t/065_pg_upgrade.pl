# Claim: pg_upgrade takes everything along: guarded tables with versions and
# settings, pools with units, queue and history, leases that are held, stored
# requests, and who owns them; fences, generations and table-wide versions go
# on above all earlier ones.  The new cluster is of the same major version.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = pg_cas_node('old');
my $key = '00000000-0000-4000-8000-00000000000';

$old->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
GRANT CREATE ON SCHEMA public TO app;
SQL

# Run SQL as the role that owns everything.
sub app
{
	my ($node, $sql) = @_;
	my ($out, $err);

	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err,
		extra_params => [ '-U', 'app', '-v', 'VERBOSITY=sqlstate' ]);
	return $err =~ /ERROR:  (\w{5})/ ? $1 : $out;
}

app($old, $_) foreach <<"SQL",
CREATE TABLE doc (id text PRIMARY KEY, d jsonb);
CREATE TABLE tab (id text PRIMARY KEY, d jsonb);
SELECT cas_enable('doc', payload_column => 'd', unversioned => 'reject');
SELECT cas_enable('tab', payload_column => 'd', writers => 'echo', versions => 'table');
SELECT cas_create('doc', 'a', '{}'), cas_update('doc', 'a', 1, '{"n": 1}');
SELECT cas_create('tab', 'a', '{}'), cas_create('tab', 'b', '{}'), cas_delete('tab', 'b', 2);
CREATE FUNCTION once(request jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT request';
SELECT request_once('scope', 'key', '{"n": 1}', 'once(jsonb)');
SELECT alloc_pool_create('pool', '{1-3}', 'int', cooldown => '1 day');
SELECT alloc_int('pool', '${key}1', note => '{"a": 1}'), alloc_int('pool', '${key}2');
SELECT alloc_release('pool', '${key}1');
BEGIN; SELECT lock_acquire('{resource}'); COMMIT;
SQL
  q{SELECT lease_acquire('lease', 'worker', '1 day')};

# What is there, as text.
my $state = q{
	SELECT * FROM cas_tables ORDER BY rel::text;
	SELECT * FROM cas_get('doc', 'a');
	SELECT * FROM cas_get('tab', 'a');
	SELECT * FROM alloc_pools;
	SELECT * FROM alloc_units;
	SELECT * FROM alloc_history;
	SELECT * FROM alloc_usage();
	SELECT name, holder, owner, fence, expires_at FROM lease_holders;
	SELECT request_once('scope', 'key', '{"n": 1}', 'once(jsonb)');
	SELECT request_once('scope', 'key', '{"n": 1}', 'once(jsonb)');
};
my $numbers = qq{
	BEGIN;
	SELECT fence FROM lock_acquire('{resource}');
	SELECT cas_create('tab', gen_random_uuid()::text, '{}');
	SELECT alloc_int('pool', '${key}3') * 0 + (SELECT generation FROM alloc_get('pool', '${key}3'));
	ROLLBACK;
};
my $before = app($old, $state);
my @before = split /\n/, app($old, $numbers);
like($before, qr/^lease\|worker\|app\|/m, 'the lease is held before');
is(scalar @before, 3, 'numbers are drawn before');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
my $bin = $new->config_data('--bindir');

$new->init;
chdir $PostgreSQL::Test::Utils::tmp_check;
command_ok([ 'pg_upgrade', '--no-sync',
		'-d', $old->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'pg_upgrade');
$new->start;

is(app($new, $state), $before, 'everything is as it was');
my @after = split /\n/, app($new, $numbers);
foreach my $i (0 .. 2)
{
	cmp_ok($after[$i], '>', $before[$i], ('fences', 'versions', 'generations')[$i] . ' rise');
}
is($new->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'the pool is sound');
is(app($new, q{UPDATE doc SET d = '{"n": 2}'}), 'PT428', 'the guard is on');
is(app($new, q{SELECT cas_update('doc', 'a', 2, '{"n": 2}')}), 3, 'versions go on');
is(app($new, qq{SELECT alloc_int('pool', '${key}2')}), 2, 'a key has its unit');
is(app($new, q{SELECT lease_release('lease', fence) FROM lease_holders}), 't', 'the lease is released with its fence');
is($new->psql('postgres', q{SELECT request_begin('scope', 'other', '{}')},
		extra_params => [ '-U', 'other' ]), 3, 'the scope is not for others');
$new->stop;
done_testing();
