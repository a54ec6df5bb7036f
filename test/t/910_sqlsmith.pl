# Claim: random queries over a database that has pg_cas in it neither crash a
# backend nor reach an internal error of ours, and leave allocation, our indexes
# and what the tables promise sound.
#
# sqlsmith makes them, of whatever tables and functions it finds in the
# catalogs.  They are tried as two roles: one with no rights but those of PUBLIC
# and on tables of its own, and a superuser, who may write to our tables.
# PG_CAS_LONG=1 makes it many more queries; PG_CAS_SEED (1) is the seed.
#
# PostgreSQL has internal errors of its own for what sqlsmith makes.  One is ours
# if it was raised in a function of ours, or in one of PostgreSQL's that we have
# called: to find that out, the query is repeated with a backtrace.
use strict;
use warnings;

use File::Basename;
use IPC::Run;
use PgCasNeeds 'sqlsmith';
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = seed(1);
my $node = pg_cas_node('smith', 'fsync = off', 'log_statement = none',
	'statement_timeout = 2s', 'lock_timeout = 100ms',
	'restart_after_crash = on', 'log_error_verbosity = verbose',
	q{log_line_prefix = '%m [%p] %q%a %e '});

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION amcheck;
CREATE ROLE smith LOGIN;
GRANT CREATE ON SCHEMA public TO smith;
GRANT ALL ON DATABASE postgres TO smith;
SET SESSION AUTHORIZATION smith;
CREATE TABLE orders (id int PRIMARY KEY, n int, note text, at timestamptz);
CREATE TABLE documents (id text PRIMARY KEY, doc jsonb);
CREATE TABLE parted (id int, part int, n numeric, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
SELECT cas_enable('orders'), cas_enable('parted', writers => 'echo'),
	cas_enable('documents', payload_column => 'doc', writers => 'echo', versions => 'table');
INSERT INTO orders SELECT i, i, 'order ' || i, now() FROM generate_series(1, 50) AS i;
INSERT INTO documents SELECT 'd' || i, jsonb_build_object('n', i) FROM generate_series(1, 50) AS i;
INSERT INTO parted SELECT i, i % 3, i FROM generate_series(1, 50) AS i;
CREATE TABLE arguments (rel regclass, id text, name text, names text[], key uuid, keys uuid[], n int,
	version bigint, doc jsonb, age interval, at timestamptz, address inet, network cidr, yes boolean);
INSERT INTO arguments VALUES
	('orders', '7', 'addresses', '{a,b}', '00000000-0000-0000-0000-000000000001',
		'{00000000-0000-0000-0000-000000000002}', 1, 1, '{"n": 1}', '1 min', now(), '10.0.0.9', '10.1.9.0/26', true),
	('documents', 'd7', 'ports', '{}', '00000000-0000-0000-0000-000000000003',
		'{}', 28, 2, '{}', '1 s', 'infinity', '::1', '::/0', false),
	('parted', '{"part": 1, "id": 1}', 'numbers', '{"",NULL}', NULL,
		'{NULL}', -1, -1, '[]', '-1 s', '-infinity', '10.0.0.0/24', '10.0.0.0/8', NULL),
	('pg_class', '', '', NULL, NULL,
		NULL, 2147483647, 9223372036854775807, 'null', '300000 years', NULL, NULL, NULL, NULL);
INSERT INTO arguments DEFAULT VALUES;
RESET SESSION AUTHORIZATION;
SELECT alloc_pool_create('addresses', '{10.0.0.0/24}', cooldown => '1 s');
SELECT alloc_pool_create('prefixes', '{10.1.0.0/16}', 'prefix');
SELECT alloc_pool_create('numbers', '{1-1000}', 'int', 'lowest');
SELECT alloc_pool_create('ports', '{10.2.0.0/28}', port_chunk => 1024);
SELECT alloc_grant(pool, 'smith') FROM alloc_pools;
SELECT alloc_ip('addresses', gen_random_uuid()), alloc_prefix('prefixes', gen_random_uuid(), 26),
	alloc_int('numbers', gen_random_uuid()), alloc_ports('ports', gen_random_uuid())
FROM generate_series(1, 20);
SQL

# The functions in our sources, each with the name of its file, as a message's
# LOCATION has them.
my %ours;
foreach my $file (glob 'src/*.[ch] src/*/*.[ch]')
{
	$ours{"$_, " . basename($file)} = 1 foreach slurp_file($file) =~ /^(\w+)\(/mg;
}
ok($ours{'require_argument, argument.c'} && !$ours{'relation_open, relation.c'},
	'our functions are known');

# The messages in the log from this place on, each with all of its lines.
sub messages
{
	my ($from) = @_;
	return split /^(?=\d{4}-\d\d-\d\d )/m, slurp_file($node->logfile, $from);
}

# The internal errors in the log, from this place on: for each LOCATION, without
# the line, the statement of the last one.
sub internal_errors
{
	my ($from) = @_;
	my ($location, %statements);

	foreach (messages($from))
	{
		if (/^.* (\w{5}) ERROR:  /) { $location = $1 =~ /^XX00/ ? '' : undef; }
		next if !defined $location;
		$location = $1 if /^.* LOCATION:  (\w+, \w+\.[chly]+):/;
		$statements{$location} = $1 if /^.* STATEMENT:  (.*)/s;
	}
	return %statements;
}

# Does the statement raise the error under a function of ours?
sub raised_by_us
{
	my ($role, $location, $statement) = @_;
	my ($function) = split /,/, $location;
	my $from = -s $node->logfile;

	$node->psql('postgres',
		"SET backtrace_functions = '$function'; SET SESSION AUTHORIZATION $role; BEGIN; $statement; ROLLBACK");
	return scalar grep { /^.* BACKTRACE: .*\/pg_cas\.so\b/s } messages($from);
}

foreach my $role ('smith', $node->safe_psql('postgres', 'SELECT current_user'))
{
	my ($out, $err);
	my $queries = long_or(1500, 20_000);
	my $from = -s $node->logfile;

	ok( IPC::Run::run(
			[   'sqlsmith', '--exclude-catalog', "--seed=$seed", "--max-queries=$queries",
				'--verbose', '--target=' . $node->connstr('postgres') . " user=$role" ],
			'<', \undef, '>', \$out, '2>', \$err,
			IPC::Run::timeout(long_or(2, 100) * $PostgreSQL::Test::Utils::timeout_default)),
		"$queries queries of " . ($role eq 'smith' ? 'a role' : 'a superuser'))
	  or diag $err;
	my ($bad, $good) = (0, 0);
	$err =~ /^  query_spec: (\d+)\/(\d+)/m and ($bad, $good) = ($1, $2);
	cmp_ok($good, '>', 0, "of which some do something ($bad blocks in error, $good not)");

	my %statements = internal_errors($from);
	my @internal = grep { $ours{$_} || raised_by_us($role, $_, $statements{$_}) }
	  sort keys %statements;
	is(join("\n", @internal), '', 'of ' . keys(%statements) . ' kinds of internal errors none is ours');
	diag "$_\n$statements{$_}" foreach @internal;
}

# A superuser's random writes to our tables are damage that alloc_verify() may
# tell; so that is asked of pools that are made afterwards.
is($node->safe_psql('postgres', <<'SQL'), "\nt\n0", 'a new pool is sound');
SELECT alloc_pool_create('new', '{1-9}', 'int');
SELECT alloc_int('new', gen_random_uuid()) BETWEEN 1 AND 9;
SELECT count(*) FROM alloc_verify('new');
SQL
is($node->safe_psql('postgres', <<'SQL'), 't', 'and so is every index of ours');
SELECT count(bt_index_check(i.indexrelid, true)) > 10
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refobjid = e.oid AND e.extname = 'pg_cas'
JOIN pg_index AS i ON i.indrelid = d.objid
JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relam = 403
WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass;
SQL
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing has crashed');
done_testing();
