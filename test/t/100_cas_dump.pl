# Claim: pg_dump, in custom and in plain format, carries guarded tables with
# their settings and versions into a fresh database, where the guard goes on
# from there; versions never repeat.  DROP EXTENSION names the tables that it
# would leave unguarded, and CASCADE leaves their data.  For a superuser, and
# for a database's owner, who is none.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app_owner LOGIN;
CREATE DATABASE by_owner OWNER app_owner;
CREATE DATABASE by_superuser;
SQL

# A table of every shape and setting.
my $tables = <<'SQL';
CREATE EXTENSION pg_cas;
CREATE SCHEMA "Die Ablage";
CREATE TABLE doc (id text PRIMARY KEY, d jsonb);
CREATE TABLE col (a int, b uuid, n int, beat timestamptz,
	"ig,no""re'" text, v smallint NOT NULL DEFAULT 1, PRIMARY KEY (a, b));
CREATE TABLE "Die Ablage"."Übersicht" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	d jsonb, twice text GENERATED ALWAYS AS (d ->> 'n') STORED);
CREATE TABLE part (id int, d jsonb, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200);
CREATE TABLE dry (id int PRIMARY KEY, n int);
CREATE TABLE off (id int PRIMARY KEY, n int);
INSERT INTO doc VALUES ('a', '{"n": 0}');
SELECT cas_enable('doc', payload_column => 'd', unversioned => 'reject',
	version_path => ARRAY['meta', 'ver"si,on''']);
SELECT cas_enable('col', version_column => 'v', ignore_columns => ARRAY['beat', 'ig,no"re''']);
SELECT cas_enable('"Die Ablage"."Übersicht"', payload_column => 'd',
	writers => 'echo', versions => 'table');
SELECT cas_enable('part', payload_column => 'd', writers => 'echo');
SELECT cas_enable('dry', enforce => 'warn');
SELECT cas_enable('off');
SELECT cas_update('doc', 'a', 1, '{"n": 1}');
SELECT cas_update('doc', 'a', 2, '{"n": 2}');
SELECT cas_create('col', '{"a": 1, "b": "00000000-0000-0000-0000-000000000001"}', '{"n": 1}');
SELECT cas_merge('col', '{"a": 1, "b": "00000000-0000-0000-0000-000000000001"}', '{"n": 2}');
SELECT cas_create('"Die Ablage"."Übersicht"', NULL, '{"n": 1}') FROM generate_series(1, 3);
SELECT cas_delete('"Die Ablage"."Übersicht"', 3, 3);
SELECT cas_create('part', 1, '{}');
SELECT cas_create('part', 101, '{}');
SELECT cas_update('part', 101, 1, '{"n": 1}');
SELECT cas_create('dry', 1, '{"n": 1}');
SELECT cas_disable('off');
SQL

my $state = <<'SQL';
SELECT cas_tables FROM cas_tables ORDER BY rel::text;
SELECT 'doc', doc FROM doc ORDER BY id;
SELECT 'col', col FROM col ORDER BY a;
SELECT 'part', tableoid::regclass, part FROM part ORDER BY id;
SELECT 'table', id, resource_version FROM "Die Ablage"."Übersicht" ORDER BY id;
SELECT 'dry', dry FROM dry;
SELECT last_value, is_called FROM "Die Ablage"."Übersicht_resource_version_seq";
SELECT tgrelid::regclass, tgenabled FROM pg_trigger WHERE tgfoid = 'cas_guard'::regproc ORDER BY tgrelid::regclass::text;
SQL

# What has to be true of a restored database: the answers to these, in turn.
my @works = (
	q{SELECT cas_try_update('doc', 'a', 2, '{}')} =>
	  qr/^\(conflict,a,3,/,
	q{SELECT cas_update('doc', 'a', 3, '{"n": 3}')} => qr/^4$/,
	q{SELECT d FROM doc} => qr/"ver\\"si,on'": 4/,
	q{UPDATE doc SET d = '{}'} => qr/PT428/,
	q{UPDATE col SET v = 2} => qr/PT409/,
	q{UPDATE col SET beat = now(), "ig,no""re'" = 'x' RETURNING v} => qr/^2$/,
	q{UPDATE col SET n = 5 RETURNING v} => qr/^3$/,
	q{UPDATE part SET d = '[]', resource_version = 1 WHERE id = 101} => qr/PT409/,
	q{UPDATE part_2 SET d = '[]' WHERE id = 101 RETURNING resource_version} => qr/^3$/,
	q{INSERT INTO part_2 VALUES (102, '{}', NULL) RETURNING resource_version} => qr/^1$/,
	q{UPDATE dry SET resource_version = 9 RETURNING resource_version} => qr/^2\n.*WARNING:  PT409/s,
	q{SELECT cas_get('off', 1)} => qr/PT400/,
	# three were drawn; a version is never seen again
	q{SELECT cas_create('"Die Ablage"."Übersicht"', 3, '{}') > 3} => qr/^t$/,
	q{SELECT cas_try_update('"Die Ablage"."Übersicht"', 3, 3, '{}')} => qr/^\(conflict,3,/,
);

# Run SQL and answer with all that psql says.
sub answer
{
	my ($user, $db, $sql) = @_;
	my ($stdout, $stderr);

	$node->psql($db, $sql,
		stdout => \$stdout, stderr => \$stderr, on_error_stop => 0,
		extra_params => [ '-U', $user, '-v', 'VERBOSITY=verbose' ]);
	return join("\n", grep { $_ ne '' } $stdout, $stderr);
}

sub check_works
{
	my ($user, $db, $name) = @_;

	for (my $i = 0; $i < @works; $i += 2)
	{
		like(answer($user, $db, $works[$i]), $works[$i + 1],
			"$name: $works[$i]");
	}
}

my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
foreach my $case ([ $superuser, 'by_superuser' ], [ 'app_owner', 'by_owner' ])
{
	my ($user, $db) = @$case;
	my @connect = ('-h', $node->host, '-p', $node->port, '-U', $user);
	my $dir = PostgreSQL::Test::Utils::tempdir;
	my $before;

	$node->safe_psql($db, $tables, extra_params => [ '-U', $user ]);
	$before = answer($user, $db, $state);

	$node->command_ok(
		[ 'pg_dump', @connect, '-Fc', '-f', "$dir/custom", $db ],
		"$db: dump, custom format");
	$node->command_ok(
		[ 'pg_dump', @connect, '-f', "$dir/plain.sql", $db ],
		"$db: dump, plain format");

	$node->safe_psql('postgres',
		"CREATE DATABASE ${db}_$_ OWNER $user") foreach qw(custom plain);
	$node->command_ok(
		[ 'pg_restore', @connect, '-e', '-d', "${db}_custom", "$dir/custom" ],
		"$db: restore, custom format");
	$node->command_ok(
		[   'psql', @connect, '-Xq', '-v', 'ON_ERROR_STOP=1',
			'-d', "${db}_plain", '-f', "$dir/plain.sql" ],
		"$db: restore, plain format");

	foreach my $restored ("${db}_custom", "${db}_plain")
	{
		is(answer($user, $restored, $state), $before,
			"$restored: settings, rows, versions are those dumped");
		check_works($user, $restored, $restored);
	}

	# Dropping the extension.
	my $drop = answer($user, $db, 'DROP EXTENSION pg_cas');
	like($drop, qr/2BP01/, "$db: tables depend on the extension");
	foreach my $table (qw(doc col dry part),
		'"Die Ablage"."Übersicht"')
	{
		like($drop, qr/on table \Q$table\E depends on/,
			"$db: DROP EXTENSION names $table");
	}
	my $rows = q{SELECT * FROM doc; SELECT * FROM col; SELECT * FROM part;
		SELECT * FROM "Die Ablage"."Übersicht"; SELECT * FROM dry};
	$before = answer($user, $db, $rows);
	unlike(answer($user, $db, 'DROP EXTENSION pg_cas CASCADE'),
		qr/ERROR/, "$db: CASCADE drops it");
	is(answer($user, $db, $rows), $before, "$db: and leaves the data");
	is( answer(
			$user, $db,
			q{UPDATE doc SET d = '{}', resource_version = 0 RETURNING resource_version}),
		'0', "$db: which nothing guards any more");

	# The tables can be put under it again, and no version comes back.
	like( answer(
			$user, $db,
			q{CREATE EXTENSION pg_cas;
			SELECT cas_enable('"Die Ablage"."Übersicht"', payload_column => 'd',
				writers => 'echo', versions => 'table');
			SELECT cas_create('"Die Ablage"."Übersicht"', 9, '{}')
				> (SELECT max(resource_version) FROM "Die Ablage"."Übersicht")}),
		qr/^t$/m, "$db: installed again, versions go on");
}

done_testing();
