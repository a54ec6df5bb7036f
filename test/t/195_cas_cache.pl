# Claim: what a session knows of a guarded table is whole or not there.  It is
# read rightly while others GRANT, ALTER and VACUUM the table, an error at any
# step of reading it leaves nothing behind, and it takes a bounded amount of
# memory.
use strict;
use warnings;

use PgCas;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main', "autovacuum = off\n");

# How many sessions use a table for the first time beside the DDL.
my $sessions = 300;

# A table with triggers on both sides of the guard's, so that there is more
# than one function to look at.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY, n int);
INSERT INTO t VALUES (1, 0);
CREATE FUNCTION nop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION nop();
CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nop();
SELECT cas_enable('t');
CREATE TABLE stop ();
SQL

# GRANTs until something is in the table "stop"; but no more than 30 for each
# update.  PostgreSQL reads a table anew within the reading that a change has
# interrupted, so somebody who makes changes faster than they can be read has
# it run out of stack.
my $grants = PgCasSession->start($node, 'postgres');
$grants->send(<<'SQL');
DO $$
DECLARE
	former int;
	present int;
	changes int := 0;
BEGIN
	LOOP
		EXIT WHEN EXISTS (SELECT FROM stop);
		SELECT n INTO present FROM t;
		COMMIT;
		IF present IS DISTINCT FROM former THEN
			former := present;
			changes := 30;
		END IF;
		CONTINUE WHEN changes = 0;
		GRANT SELECT ON t TO PUBLIC;
		COMMIT;
		ALTER TABLE t SET (fillfactor = 90);
		COMMIT;
		REVOKE SELECT ON t FROM PUBLIC;
		COMMIT;
		changes := changes - 3;
	END LOOP;
END
$$;
SQL

my $script = $node->basedir . '/update.sql';
append_to_file($script, "UPDATE t SET n = n + 1;\n");
$node->command_ok(
	[ 'pgbench', '-n', '-C', '-c', 1, '-t', $sessions, '-f', $script, 'postgres' ],
	"$sessions sessions update a table beside GRANT and ALTER");
$node->safe_psql('postgres', 'INSERT INTO stop DEFAULT VALUES');
is($grants->answer, '', 'which went on until the end');
$grants->stop;
is( $node->safe_psql('postgres', 'SELECT n, resource_version FROM t'),
	"$sessions|" . ($sessions + 1),
	'each update is there, and advanced the version');

# An error while a table is read for the first time: the session has used
# another, and another one locks a catalog, in turn.  What fails does so
# rightly; then all is as if nothing had been.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE parted (id macaddr PRIMARY KEY, n int, d jsonb) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
CREATE TRIGGER a BEFORE INSERT ON parted FOR EACH ROW EXECUTE FUNCTION nop();
SELECT cas_enable('parted', payload_column => 'd', writers => 'echo',
	versions => 'table', ignore_columns => '{n}');
CREATE TABLE other (id int PRIMARY KEY);
SELECT cas_enable('other');
SQL
my $failed = 0;
foreach my $catalog (
	qw(pg_proc pg_type pg_class pg_attribute pg_index pg_inherits pg_depend
	pg_opclass pg_amop pg_amproc pg_operator pg_constraint pg_sequence
	pg_trigger pg_namespace))
{
	my $session = PgCasSession->start($node, 'postgres');
	my $locker = PgCasSession->start($node, 'postgres');

	# what PostgreSQL itself needs for the statement is read beforehand
	$session->ask('INSERT INTO other VALUES (1) ON CONFLICT DO NOTHING;');
	$session->ask(q{SET lock_timeout = '50ms';});
	$locker->ask("BEGIN; LOCK TABLE pg_catalog.$catalog;");
	my $seen = $session->ask(q{INSERT INTO parted VALUES ('00:00:00:00:00:01', 1, '{}') ON CONFLICT (id) DO UPDATE SET n = 2;});
	$seen .= $session->ask(q{SELECT version FROM cas_get('parted', '00:00:00:00:00:01');});
	$failed++ if $seen =~ /55P03/;
	unlike($seen, qr/PT400|XX000/, "$catalog locked: no false answer");
	$locker->ask('ROLLBACK;');
	like(
		$session->ask(q{SELECT version > 0 FROM cas_get('parted', '00:00:00:00:00:01');}),
		qr/^(t\n|)$/, "$catalog free again: the table is read");
	is( $session->ask(q{INSERT INTO parted VALUES ('00:00:00:00:00:02', 1, '{}'); DELETE FROM parted WHERE id = '00:00:00:00:00:02';}),
		'', 'and written');
	$_->stop foreach $session, $locker;
}
cmp_ok($failed, '>=', 3, 'several of them made the first use fail');

# Many guarded tables, each used in a transaction of its own, by plain writes
# and by functions: a backend keeps some of them.
my $tables = 1000;
$node->safe_psql('postgres', <<"SQL");
DO \$\$
BEGIN
	FOR i IN 1 .. $tables LOOP
		EXECUTE format('CREATE TABLE many%s (id int PRIMARY KEY, a text, b numeric, d jsonb)', i);
		PERFORM cas_enable(format('many%s', i)::regclass);
		COMMIT;
	END LOOP;
END
\$\$;
SQL
my $session = PgCasSession->start($node, 'postgres');
$session->ask(<<"SQL");
DO \$\$
BEGIN
	FOR i IN 1 .. $tables LOOP
		EXECUTE format('INSERT INTO many%s VALUES (1)', i);
		PERFORM cas_update(format('many%s', i)::regclass, 1, 1, '{"a": "x"}');
		PERFORM cas_merge(format('many%s', i)::regclass, 1, '{"b": 1}');
		COMMIT;
	END LOOP;
END
\$\$;
SQL
# a context is known by its parent's name, since PostgreSQL 18 by those it is in
my $inside = $node->safe_psql('postgres', q{SHOW server_version_num}) < 180000
  ? q{parent = 'pg_cas table'}
  : q{path && (SELECT array_agg(t.path[cardinality(t.path)])
		FROM contexts AS t WHERE t.name = 'pg_cas table')};
my $kept = $session->ask(<<"SQL");
WITH contexts AS MATERIALIZED (SELECT * FROM pg_backend_memory_contexts)
SELECT count(*) FILTER (WHERE name = 'pg_cas table'), coalesce(sum(total_bytes), 0)
FROM contexts
WHERE name = 'pg_cas table' OR $inside
	OR (name ~ '^(CachedPlan|SPI Plan)' AND coalesce(ident, '') ~ 'many|^\$');
SQL
my ($contexts, $bytes) = $kept =~ /^(\d+)\|(\d+)$/m;
note("$contexts tables, $bytes bytes");
cmp_ok($contexts, '>', 0, 'a backend keeps tables that it has used');
cmp_ok($contexts, '<=', 100, 'but not all of them');
cmp_ok($bytes, '<', 10 * 1024 * 1024, 'in no more than 10 MB');
is( $session->ask("SELECT cas_merge('many1', 1, '{\"b\": 2}'), cas_merge('many$tables', 1, '{\"b\": 2}');"),
	"4|4\n", 'those that it has let go are as good as those kept');
# all in one transaction: nothing that is used in it is let go
is( $session->ask(<<"SQL"), '', 'one transaction can use all of them');
DO \$\$
BEGIN
	FOR i IN 1 .. 300 LOOP
		EXECUTE format('UPDATE many%s SET a = \$q\$y\$q\$', i);
	END LOOP;
	FOR i IN 1 .. 300 LOOP
		EXECUTE format('UPDATE many%s SET a = \$q\$z\$q\$', i);
	END LOOP;
END
\$\$;
SQL
$session->stop;

# A role that is dropped while it is connected: its conflicts are logged.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE shortly LOGIN;
GRANT ALL ON t TO PUBLIC;
SQL
$node->append_conf('postgresql.conf', 'pg_cas.log_conflicts = on');
$node->reload;
my $guest = PgCasSession->start($node, 'postgres');
$guest->ask('SET SESSION AUTHORIZATION shortly;');
$node->safe_psql('postgres', 'DROP ROLE shortly');
like($guest->ask(q{SELECT outcome FROM cas_try_update('t', 1, 7, '{"n": 1}');}),
	qr/^conflict/, 'the try form answers a role that is no more');
like($guest->ask('UPDATE t SET n = 1, resource_version = 7;'),
	qr/PT409/, 'and the guard refuses it');
like(slurp_file($node->logfile), qr/"role": null/, 'it is logged without a name');
$guest->stop;

ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is up');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|XX000/,
	'and nothing has crashed');
done_testing();
