# Claim: the owner of a database, no superuser, installs pg_cas into a schema
# of his choice, owns the functions and views in it, can use and dump but not
# alter what is behind them, finds it described, and gets rid of it again
# without a trace.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app_owner LOGIN;
CREATE ROLE app_user LOGIN;
CREATE DATABASE app OWNER app_owner;
SQL

# Run SQL in that database as its owner, and answer with its output.
sub owner_sql
{
	my ($sql) = @_;
	return $node->safe_psql('app', $sql,
		extra_params => [ '-U', 'app_owner' ]);
}

# Everything that an extension's script can make, and what refers to it; not
# the schemas that PostgreSQL makes for a session's temporary objects.
my $traces = <<'SQL';
SELECT kind, oid FROM (
	SELECT 'relation', oid FROM pg_class
	UNION ALL SELECT 'function', oid FROM pg_proc
	UNION ALL SELECT 'type', oid FROM pg_type
	UNION ALL SELECT 'operator', oid FROM pg_operator
	UNION ALL SELECT 'cast', oid FROM pg_cast
	UNION ALL SELECT 'trigger', oid FROM pg_trigger
	UNION ALL SELECT 'schema', oid FROM pg_namespace
		WHERE nspname !~ '^pg_(toast_)?temp_'
	UNION ALL SELECT 'default privilege', oid FROM pg_default_acl
	UNION ALL SELECT 'comment', objoid FROM pg_description
	UNION ALL SELECT 'dependency', objid FROM pg_depend
		WHERE objid NOT IN (SELECT oid FROM pg_namespace)
	UNION ALL SELECT 'owner', objid FROM pg_shdepend
		WHERE dbid = (SELECT oid FROM pg_database
			WHERE datname = current_database())
) AS trace (kind, oid)
WHERE oid >= 16384
ORDER BY 1, 2
SQL

# The extension's members.
my $members = <<'SQL';
CREATE TEMP VIEW member AS
SELECT d.classid, d.objid,
	pg_describe_object(d.classid, d.objid, 0) AS description,
	coalesce(p.proname, c.relname, t.typname, o.oprname) AS name,
	coalesce(pronamespace, relnamespace, typnamespace, oprnamespace) AS nsp,
	c.relkind,
	coalesce(t.typrelid, 0) <> 0 AND t.typtype = 'c'
		AND EXISTS (SELECT FROM pg_class AS r WHERE r.oid = t.typrelid
			AND r.relkind <> 'c') AS row_type
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refobjid = e.oid
LEFT JOIN pg_proc AS p
	ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
LEFT JOIN pg_class AS c
	ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
LEFT JOIN pg_type AS t
	ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
LEFT JOIN pg_operator AS o
	ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid
WHERE d.refclassid = 'pg_extension'::regclass
	AND e.extname = 'pg_cas' AND d.deptype = 'e';
SQL

# Each of these lists members that break a rule.
my %rules = (
	'functions and views belong to the installing role, and nothing else does' => <<'SQL',
SELECT description FROM member
WHERE coalesce(nsp <> 'cas_internal'::regnamespace
		AND (classid = 'pg_proc'::regclass OR relkind = 'v'), false)
	IS DISTINCT FROM EXISTS (
		SELECT FROM pg_shdepend AS s
		WHERE s.dbid = (SELECT oid FROM pg_database
				WHERE datname = current_database())
			AND s.classid = member.classid AND s.objid = member.objid
			AND s.deptype = 'o' AND s.refobjid = 'app_owner'::regrole)
SQL

	'the installing role can read and write every table and sequence of ours' => <<'SQL',
SELECT description FROM member
WHERE relkind = 'S' AND NOT has_sequence_privilege('app_owner', objid, 'SELECT')
	OR relkind = 'S' AND NOT has_sequence_privilege('app_owner', objid, 'UPDATE')
	OR relkind = 'r' AND NOT (has_table_privilege('app_owner', objid, 'SELECT')
		AND has_table_privilege('app_owner', objid, 'INSERT')
		AND has_table_privilege('app_owner', objid, 'UPDATE')
		AND has_table_privilege('app_owner', objid, 'DELETE'))
	OR relkind = 'r' AND has_table_privilege('app_owner', objid, 'TRIGGER')
SQL

	'others can do nothing with what is in cas_internal' => <<'SQL',
SELECT description FROM member
WHERE has_schema_privilege('app_user', 'cas_internal', 'USAGE')
	OR (nsp = 'cas_internal'::regnamespace AND CASE relkind
		WHEN 'S' THEN has_sequence_privilege('app_user', objid, 'USAGE, SELECT, UPDATE')
		WHEN 'r' THEN has_table_privilege('app_user', objid, 'SELECT, INSERT, UPDATE, DELETE')
		WHEN 'v' THEN has_table_privilege('app_user', objid, 'SELECT')
		END)
SQL

	# A sequence that belongs to a column is described by the column's table.
	'all members have a comment' => <<'SQL',
SELECT description FROM member
WHERE obj_description(objid, classid::regclass::name) IS NULL
	AND description !~ '^type .*\[\]$' AND NOT row_type
	AND NOT EXISTS (SELECT FROM pg_depend AS d
		WHERE relkind = 'S' AND d.objid = member.objid
			AND d.classid = member.classid AND d.refobjsubid > 0)
SQL

	'all names begin as agreed' => <<'SQL',
SELECT description FROM member
WHERE nsp <> 'cas_internal'::regnamespace
	AND name !~ '^_?(cas|alloc|lock|lease|request|pg_cas)_'
SQL

	'tables and sequences are in our own schema' => <<'SQL',
SELECT description FROM member
WHERE nsp <> 'cas_internal'::regnamespace AND relkind NOT IN ('v', 'c')
SQL

	'all members are in the schema asked for, or in our own' => <<'SQL',
SELECT description FROM member
WHERE nsp IS NULL AND classid <> 'pg_namespace'::regclass
	OR nsp NOT IN (SELECT oid FROM pg_namespace
		WHERE nspname IN ('Die Ablage', 'cas_internal'))
SQL
);

my $before = owner_sql($traces);

my ($rc, $stdout, $stderr) = $node->psql('app', 'CREATE EXTENSION pg_cas',
	extra_params => [ '-U', 'app_user' ]);
isnt($rc, 0, 'a role without CREATE on the database cannot install it');
like($stderr, qr/permission denied/, 'and is told why');

owner_sql(<<'SQL');
CREATE SCHEMA "Die Ablage";
CREATE EXTENSION pg_cas SCHEMA "Die Ablage";
SQL

cmp_ok(owner_sql("$members SELECT count(*) FROM member"),
	'>', 0, 'the extension has members');
foreach my $rule (sort keys %rules)
{
	is(owner_sql("$members $rules{$rule}"), '', $rule);
}

is( owner_sql('SELECT "Die Ablage".pg_cas_version()'),
	owner_sql(
		q{SELECT extversion FROM pg_extension WHERE extname = 'pg_cas'}),
	'the library and the SQL objects are of one version');

is( owner_sql(
		q{SELECT string_agg(relname, ' ') FROM pg_class
		WHERE relnamespace = 'cas_internal'::regnamespace AND relkind = 'r'
		AND 'vacuum_truncate=off' <> ALL (coalesce(reloptions, '{}'))}),
	'',
	'VACUUM locks no table of ours exclusively to truncate it');

owner_sql('DROP EXTENSION pg_cas; DROP SCHEMA "Die Ablage"');
is(owner_sql($traces), $before, 'dropping it leaves nothing');

owner_sql('CREATE EXTENSION pg_cas');
is( owner_sql(
		q{SELECT extnamespace::regnamespace FROM pg_extension
		WHERE extname = 'pg_cas'}),
	'public',
	'without a choice it goes to the first schema of the search_path');

# Somebody who may create objects in the schema has planted operators there, of
# all pairs of common types, before an administrator installs the extension.
# Where pg_catalog has no operator for exactly these types, a planted one is the
# better match, and would run as the extension's owner.
$node->safe_psql('postgres', 'CREATE DATABASE planted');
$node->safe_psql('planted', <<'SQL');
CREATE ROLE planter;
GRANT CREATE ON SCHEMA public TO planter;
SET SESSION AUTHORIZATION planter;
DO $$
DECLARE
	a regtype;
	b regtype;
	op text;
	types CONSTANT regtype[] := '{smallint,int,bigint,oid,numeric,real,float8,text,varchar,name,"\"char\"",
		boolean,uuid,inet,cidr,jsonb,json,interval,timestamptz,timestamp,regclass,regrole,xid,numrange,int4range,
		int8range,int[],bigint[],text[],bytea}';
BEGIN
	FOREACH a IN ARRAY types LOOP
		FOREACH b IN ARRAY types LOOP
			EXECUTE pg_catalog.format('CREATE FUNCTION public.planted(%s, %s) RETURNS boolean LANGUAGE sql AS %L',
				a, b, 'SELECT true');
			FOREACH op IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '%', '||', '&&', '@>', '<@', '~', '->', '->>'] LOOP
				EXECUTE pg_catalog.format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.planted)',
					op, a, b);
			END LOOP;
		END LOOP;
	END LOOP;
END
$$;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_cas;
SQL
is( $node->safe_psql('planted', <<'SQL'), '', 'nothing of the extension uses what was planted in its schema');
SET search_path = pg_catalog;
SELECT pg_describe_object(d.classid, d.objid, d.objsubid), pg_describe_object(d.refclassid, d.refobjid, 0)
FROM pg_depend AS d
WHERE ((d.refclassid = 'pg_proc'::regclass
		AND d.refobjid IN (SELECT oid FROM pg_proc WHERE proname = 'planted'))
	OR (d.refclassid = 'pg_operator'::regclass
		AND d.refobjid IN (SELECT oid FROM pg_operator WHERE oprnamespace = 'public'::regnamespace)))
	AND d.classid <> 'pg_operator'::regclass;
SQL

done_testing();
