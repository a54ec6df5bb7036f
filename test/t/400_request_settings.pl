# Claim: a role that is no superuser sets pg_cas's settings for itself, in its
# connection string, and with SET LOCAL; for roles and databases that it may
# alter it does so once the library is loaded in its session; and they are in
# force in sessions that load the library only when they need it.  A leak ends
# the connection, and what the lost transaction did with it.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main', 'max_prepared_transactions = 2');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN CREATEROLE;
CREATE ROLE worker LOGIN ADMIN app;
CREATE DATABASE app OWNER app;
SQL
$node->safe_psql('app', <<'SQL', extra_params => [ '-U', 'app' ]);
CREATE EXTENSION pg_cas;
CREATE TABLE counter (id int PRIMARY KEY, n int);
SELECT cas_enable('counter');
INSERT INTO counter VALUES (1, 1);
GRANT ALL ON counter TO worker;
SQL

# What psql prints, and what it complains of, as a role.
sub as
{
	my ($role, $sql, %option) = @_;
	my ($out, $err) = ('', '');
	$node->psql('app', $sql, stdout => \$out, stderr => \$err,
		extra_params => [ '-U', $role ], on_error_stop => 0,
		connstr => $node->connstr('app') . ' ' . ($option{connstr} // ''));
	return ($out, $err);
}

# Before the library is loaded, only a superuser may set for roles.
my $alter = q{ALTER ROLE worker SET pg_cas.on_leak = 'error'};
my ($out, $err) = as('app', $alter);
like($err, qr/permission denied to set parameter "pg_cas.on_leak"/,
	'a session that has not loaded the library cannot ALTER ROLE ... SET');
($out, $err) = as('app', "SELECT pg_cas_version(); $alter");
is($err, '', 'one that has can');
($out, $err) = as('worker', 'SHOW pg_cas.on_leak');
is($out, 'error', 'the role has it before the library is loaded');
($out, $err) =
  as('worker', q{SELECT pg_cas_version() IS NULL; SHOW pg_cas.on_leak});
is($out, "f\nerror", '... and after that');

($out, $err) = as('app',
	q{SELECT pg_cas_version(); ALTER DATABASE app SET pg_cas.on_leak = 'warning';
	ALTER DATABASE app SET pg_cas.require_autocommit = on;
	ALTER ROLE worker RESET pg_cas.on_leak});
is($err, '', 'a database\'s owner sets for the database');
($out, $err) = as('worker',
	q{BEGIN; SELECT request_claim('a'); SELECT request_claim('b'); COMMIT});
like($err, qr/^psql:<stdin>:1: WARNING:  the open transaction belongs to another request\n.*\n.*\n?$/,
	'it is in force there');
($out, $err) = as('worker',
	q{BEGIN; SELECT cas_merge('counter', 1, '{"n": 2}'); COMMIT});
like($err, qr/cas_merge\(\) must not run inside a transaction block/,
	'so is require_autocommit');
as('app',
	q{SELECT pg_cas_version(); ALTER DATABASE app RESET pg_cas.on_leak;
	ALTER DATABASE app RESET pg_cas.require_autocommit});

# A value that is wrong, set before the library is loaded, is not taken.
($out, $err) = as('worker',
	q{SET pg_cas.on_leak = 'panic'; SELECT pg_cas_version() IS NULL; SHOW pg_cas.on_leak});
like($err, qr/invalid value for parameter "pg_cas.on_leak"/, 'a wrong word is refused on loading');
like($out, qr/fatal$/, '... and the default stays');

# The connection string.
my $options = q{options='-c pg_cas.on_leak=error -c pg_cas.request=job-7'};
($out, $err) = as('worker',
	q{BEGIN; UPDATE counter SET n = 2; SELECT request_claim('job-8'); COMMIT},
	connstr => $options);
like($err, qr/DETAIL:  \{"claimed": "job-7", "claim": "job-8"\}/,
	'the connection string names the request, for plain writes, too');

# What comes with the connection need not be text in the database's encoding, but
# what others see of it is.
{
	local $ENV{PGOPTIONS} = "-c pg_cas.request=a\xffb";
	($out, $err) = as('worker', <<'SQL');
BEGIN;
SELECT count(*) FROM lock_acquire('{x}');
SELECT encode(convert_to(request, 'UTF8'), 'escape') FROM lock_holders;
SET LOCAL pg_cas.on_leak = 'warning';
SELECT request_claim('c');
SELECT request_claim(current_setting('pg_cas.request'));
COMMIT;
SQL
	is($out, "1\na\\\\xffb\n\n", 'a token that is no text is shown with escapes');
	like($err, qr/^[^\n]*WARNING:  the open transaction[^\n]*\nDETAIL:  \{"claimed": "a\\\\xffb", "claim": "c"\}\n[^\n]*\z/,
		'... in errors, too, and remains the same token');
}

# SET LOCAL before the library is loaded by the first guarded write.
($out, $err) = as('worker',
	q{BEGIN; SET LOCAL pg_cas.request = 'a'; UPDATE counter SET n = 3;
	SET LOCAL pg_cas.request = 'b'; UPDATE counter SET n = 4; SELECT 'still here'});
like($err, qr/FATAL:  the open transaction belongs to another request/,
	'SET LOCAL: a leak');
like($err, qr/server closed the connection/, '... ends the connection');
unlike($out, qr/still here/, '... at once');
is($node->safe_psql('app', 'SELECT n FROM counter'),
	'1', '... and the lost transaction is rolled back');

# What swallows errors does not swallow this one.
($out, $err) = as('worker', <<'SQL');
BEGIN;
SELECT request_claim('a');
UPDATE counter SET n = 5;
DO $$ BEGIN
	PERFORM public.request_claim('b');
EXCEPTION WHEN OTHERS THEN NULL; END $$;
COMMIT;
SQL
like($err, qr/FATAL:  the open transaction/, 'no EXCEPTION block catches it');
is($node->safe_psql('app', 'SELECT n FROM counter'), '1', '... nothing is there');

# In a session that shares one transaction on purpose.
($out, $err) = as('worker',
	q{BEGIN; SELECT request_claim('a'); SELECT request_claim('b'); SELECT 'all well'; ROLLBACK},
	connstr => q{options='-c pg_cas.on_leak=off'});
is($err, '', 'a test harness switches it off');

# Run a script by pgbench; it must fail with this error.  Not every version of pgbench
# prints the error of a pipeline, so look for it in the server's log.
sub fails_in_log
{
	my ($script, $error, $name) = @_;
	my $offset = -s $node->logfile;

	$node->command_fails(
		[ 'pgbench', '-n', '-t1', '-M', 'extended', '-f', $script, '-d', $node->connstr('app') ],
		$name);
	like(slurp_file($node->logfile, $offset), $error, '... with its error');
}

# One call, one commit, in a pipeline, too.
$node->safe_psql('postgres', 'CREATE TABLE log (line text)');
my $script = PostgreSQL::Test::Utils::tempdir . '/pipeline';
append_to_file($script, <<'SQL');
\startpipeline
SELECT cas_merge('counter', 1, '{"n": 6}');
SELECT cas_merge('counter', 1, '{"n": 7}');
SELECT 1 / 0;
\endpipeline
SQL
my %env = (PGOPTIONS => '-c pg_cas.require_autocommit=on');
{
	local @ENV{ keys %env } = values %env;
	fails_in_log($script, qr/ERROR: .*division by zero/,
		'a pipeline fails at its third statement');
}
is($node->safe_psql('app', 'SELECT n FROM counter'),
	'7', '... the calls before it are committed, each by itself');
my $later = PostgreSQL::Test::Utils::tempdir . '/later';
append_to_file($later, <<'SQL');
\startpipeline
INSERT INTO counter VALUES (2, 2);
SELECT cas_merge('counter', 1, '{"n": 8}');
\endpipeline
SQL
{
	local @ENV{ keys %env } = values %env;
	fails_in_log($later, qr/ERROR: .*cas_merge\(\) must not run inside a transaction block/,
		'what has begun as a transaction of a pipeline is refused');
}

# The documented query finds a transaction that nobody is at.
my ($look) = slurp_file('docs/requests.md') =~ /```sql\n(SELECT pid.*?)```/s;
$look =~ s/interval '10 s'/interval '0 s'/;
my ($in, $answer) = ("BEGIN; SELECT 'left open';\n", '');
my $idle = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('app') ],
	'<', \$in, '>', \$answer);
$idle->pump until $answer =~ /left open/;
$node->poll_query_until('app',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'idle in transaction'});
like($node->safe_psql('app', $look), qr/SELECT 'left open';$/,
	'the query on pg_stat_activity finds an abandoned transaction');
$in = "ROLLBACK;\n\\q\n";
$idle->finish;

# The stored requests are dumped and restored with their scopes.
$node->safe_psql('app', <<'SQL', extra_params => [ '-U', 'worker' ]);
CREATE FUNCTION pg_temp.one(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT ''1''::jsonb';
SELECT request_once('dump', 'k', '{"a": 1}', 'pg_temp.one(jsonb)');
SQL
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('app') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored OWNER app');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
is( $node->safe_psql(
		'restored',
		q{BEGIN; SELECT * FROM request_begin('dump', 'k', '{"a": 1}')},
		extra_params => [ '-U', 'worker' ]),
	'done|1',
	'a request that was done is done after dump and restore');

done_testing();
