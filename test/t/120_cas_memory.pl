# Claim: a hundred thousand calls in one session, of all functions, with
# conflicts and errors caught in EXCEPTION blocks, and with DDL on the tables
# in between, leave the backend's memory as large as after the first few
# thousand; and calls in one transaction cost it no more than plain UPDATEs do.
#
# PG_CAS_LONG=1 makes it a million.
use strict;
use warnings;

use PgCasNeeds 'plain memory';
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $calls = $ENV{PG_CAS_LONG} ? 1_000_000 : 100_000;
my $node = pg_cas_node('main');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE doc (id int PRIMARY KEY, d jsonb);
CREATE TABLE col (a int, b text, n int, j jsonb, PRIMARY KEY (a, b));
CREATE TABLE part (id int PRIMARY KEY, d jsonb) PARTITION BY HASH (id);
CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT cas_enable('doc', payload_column => 'd', unversioned => 'reject',
	version_path => '{v}');
SELECT cas_enable('col');
SELECT cas_enable('part', payload_column => 'd', writers => 'echo', versions => 'table');
SELECT cas_create('doc', 1, '{}'), cas_create('part', 1, '{}'),
	cas_create('col', '{"a": 1, "b": "x"}', '{"n": 1}');
CREATE FUNCTION step(payload jsonb, args jsonb) RETURNS jsonb
	LANGUAGE sql AS 'SELECT jsonb_build_object(''n'', args)';

-- One round of twenty calls; those that fail are caught, each by itself.
CREATE PROCEDURE round(i int) LANGUAGE plpgsql AS $$
DECLARE
	v bigint;
	r cas_result;
	call text;
BEGIN
	SELECT version INTO v FROM cas_get('doc', 1);
	v := cas_update('doc', 1, v, jsonb_build_object('i', i));
	r := cas_try_update('doc', 1, v - 1, '{}');
	r := cas_try_patch('doc', 1, v, jsonb_build_object('j', i));
	r := cas_try_update('doc', 1, r.version, r.payload);
	v := cas_merge('doc', 1, jsonb_build_object('k', i));
	v := cas_apply('doc', 1, 'step(jsonb, jsonb)', to_jsonb(i));
	v := cas_put('doc', 1, jsonb_build_object('put', i));
	r := cas_try_create('doc', 1, '{}');
	r := cas_try_rename('doc', 1, v, 2);
	v := cas_delete('doc', 2, r.version);
	v := cas_create('doc', 1, jsonb_build_object('text', repeat('x', 4000), 'i', i));
	v := cas_merge('col', '{"a": 1, "b": "x"}'::jsonb, jsonb_build_object('n', i));
	r := cas_try_patch('col', '{"a": 1, "b": "x"}', v, '{"j": {"k": 1}}');
	PERFORM cas_lock('col', ARRAY['{"a": 1, "b": "x"}', '{"a": 2, "b": "y"}']);
	v := cas_merge('part', 1, jsonb_build_object('i', i));
	r := cas_try_update('part', 1, 0, '{}');
	FOREACH call IN ARRAY ARRAY[
		$c$SELECT cas_update('doc', 1, 0, '{}')$c$,
		$c$SELECT cas_update('doc', 'x', 1, '{}')$c$,
		$c$SELECT cas_patch('col', '{"a": 1, "b": "x"}', 0, '{"none": 1}')$c$]
	LOOP
		BEGIN
			EXECUTE call;
			RAISE EXCEPTION 'no error from %', call;
		EXCEPTION
			WHEN SQLSTATE 'PT409' OR invalid_parameter_value OR undefined_column THEN NULL;
		END;
	END LOOP;
END
$$;

-- Many of them, each a transaction; a little DDL after every so many.
CREATE PROCEDURE rounds(n int, ddl_every int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		CALL round(i);
		COMMIT;
		IF ddl_every > 0 AND i % ddl_every = 0 THEN
			EXECUTE format('ALTER TABLE doc SET (fillfactor = %s)', 50 + i / ddl_every % 50);
			ALTER TABLE col RENAME j TO k;
			ALTER TABLE col RENAME k TO j;
			PERFORM cas_enable('col', enforce => CASE i % 2 WHEN 0 THEN 'warn' ELSE 'error' END);
			ALTER TABLE part DETACH PARTITION part_0;
			ALTER TABLE part ATTACH PARTITION part_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
			COMMIT;
		END IF;
	END LOOP;
END
$$;

CREATE FUNCTION allocated() RETURNS bigint LANGUAGE sql
	AS 'SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts';
CREATE FUNCTION resident() RETURNS bigint LANGUAGE sql
	AS $$SELECT substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\s*(\d+)')::bigint * 1024$$;
SQL

my $session = $node->background_psql('postgres', on_error_stop => 1);
$session->set_query_timer_restart;

# What the session has allocated, and what the system gave it.
sub memory
{
	return (
		$session->query_safe('SELECT allocated()'),
		-r '/proc/self/status' ? $session->query_safe('SELECT resident()') : 0);
}

# Rounds, five hundred in a statement, so that its time does not grow with
# their number.
sub rounds
{
	my ($rounds, $ddl_every) = @_;

	for (; $rounds > 0; $rounds -= 500)
	{
		$session->query_safe("CALL rounds(500, $ddl_every)");
	}
	return;
}

# Do it once for the caches, again for the record: nothing may have grown by
# more than a few pages.
sub stays_flat
{
	my ($name, $rounds, $ddl_every) = @_;

	rounds(500, $ddl_every);
	my ($allocated, $resident) = memory();
	rounds($rounds, $ddl_every);
	my ($allocated_then, $resident_then) = memory();

	note("$name: contexts $allocated -> $allocated_then,"
		  . " resident $resident -> $resident_then");
	cmp_ok($allocated_then - $allocated, '<=', 128 * 1024,
		"$name: memory contexts");
	cmp_ok($resident_then - $resident, '<=', 1024 * 1024,
		"$name: resident memory");
}

my $rounds = $calls / 20;
stays_flat("$calls calls", $rounds, 0);
stays_flat('with DDL in between', $rounds / 10, 5);

# In one transaction, beside as many plain UPDATEs in subtransactions.
sub growth
{
	my ($statement) = @_;

	return $session->query_safe(<<SQL);
DO \$\$
DECLARE
	before bigint;
	v bigint;
BEGIN
	FOR i IN 1..5500 LOOP
		BEGIN
			$statement;
		EXCEPTION WHEN SQLSTATE 'PT409' THEN NULL;
		END;
		IF i = 500 THEN
			before := allocated();
		END IF;
	END LOOP;
	PERFORM set_config('test.growth', (allocated() - before)::text, false);
END
\$\$;
SELECT current_setting('test.growth')
SQL
}

my $plain = growth(q{UPDATE part SET d = jsonb_build_object('i', i) WHERE id = 1});
foreach my $statement (
	q{v := cas_merge('part', 1, jsonb_build_object('i', i))},
	q{PERFORM cas_try_update('part', 1, 0, '{}')},
	q{PERFORM cas_update('part', 1, 0, '{}')})
{
	my $growth = growth($statement);

	note("5000 times in one transaction: $statement: $growth; plain: $plain");
	cmp_ok($growth - $plain, '<=', 5000 * 40, "one transaction: $statement");
}

# cas_lock() keeps no row longer than it takes to return it: a policy looks at
# the memory for the first and for the last of many rows.
$session->query_safe(<<'SQL');
CREATE TABLE many (id int PRIMARY KEY, a int, b numeric, c text);
SELECT cas_enable('many');
INSERT INTO many SELECT n, n, n, 'x' FROM generate_series(1, 20001) AS n;
CREATE FUNCTION watch(id int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF id % 20000 = 1 THEN
		PERFORM set_config('test.at' || id, allocated()::text, false);
	END IF;
	RETURN true;
END
$$;
CREATE POLICY watched ON many USING (watch(id));
ALTER TABLE many ENABLE ROW LEVEL SECURITY;
CREATE ROLE watched;
GRANT SELECT, UPDATE ON many TO watched;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_catalog, public TO watched;
GRANT pg_read_all_stats TO watched;
SET ROLE watched;
SELECT count(*) FROM cas_lock('many', ARRAY(SELECT generate_series(1, 20001)));
RESET ROLE;
SQL
my $rows = $session->query_safe(
	q{SELECT current_setting('test.at20001')::bigint - current_setting('test.at1')::bigint});

# the rows in the result take up to work_mem
note("20000 rows: $rows");
cmp_ok($rows, '<=', 20000 * 350, 'cas_lock');
$session->quit;

done_testing();
