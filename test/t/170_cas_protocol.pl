# Claim: drivers that send their parameters without types, as libpq, node,
# psycopg and Go's do, call every function of the family with ids of every
# type, in the extended protocol, prepared or not.
#
# pgbench is such a driver: with --protocol=extended it sends each :variable
# as an untyped text parameter, and with prepared it does so by name.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main', 'log_statement = all');

$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA app;
CREATE TYPE color AS ENUM ('red', 'blue');
CREATE DOMAIN code AS varchar(8) CHECK (VALUE ~ '^[A-Z]');
CREATE TABLE app.by_text (id text PRIMARY KEY, d jsonb);
CREATE TABLE app.by_uuid (id uuid PRIMARY KEY, d jsonb);
CREATE TABLE app.by_bigint (id bigint PRIMARY KEY, d jsonb);
CREATE TABLE app.by_smallint (id smallint PRIMARY KEY, d jsonb);
CREATE TABLE app.by_date (id date PRIMARY KEY, d jsonb);
CREATE TABLE app.by_enum (id color PRIMARY KEY, d jsonb);
CREATE TABLE app.by_domain (id code PRIMARY KEY, d jsonb);
CREATE TABLE app.by_two (a text, b int, d jsonb, PRIMARY KEY (a, b));
SELECT cas_enable(t, payload_column => 'd')
FROM unnest('{by_text,by_uuid,by_bigint,by_smallint,by_date,by_enum,by_domain,by_two}'::text[]) AS n,
	LATERAL CAST('app.' || n AS regclass) AS t;
CREATE FUNCTION app.add(payload jsonb, args jsonb) RETURNS jsonb
	LANGUAGE sql AS 'SELECT $1 || $2';
CREATE TABLE app.answer (n serial, call text, answer text);
SQL

# An id, and another, for each table; in text, as a driver has it.
my %ids = (
	by_text => [ q{it's "a"}, 'b' ],
	by_uuid => [
		'00000000-0000-0000-0000-00000000000a',
		'00000000-0000-0000-0000-00000000000b' ],
	by_bigint => [ '9223372036854775807', '-3' ],
	by_smallint => [ '7', '8' ],
	by_date => [ '2024-02-29', '2024-03-01' ],
	by_enum => [ 'red', 'blue' ],
	by_domain => [ 'A1', 'B2' ],
	by_two => [ '{"a": "x", "b": 1}', '{"a": "x", "b": 2}' ]);

# The whole family, every argument a parameter.  The answers are kept.
my $script = '';
foreach my $call (
	'cas_create(:rel, :id, :doc)',
	'cas_get(:rel, :id)',
	'cas_lock(:rel, ARRAY[:id, :id2])',
	'cas_lock(:rel, :ids, :mode)',
	'cas_update(:rel, :id, :v1, :doc2)',
	'cas_try_update(:rel, :id, :v1, :doc)',
	'cas_patch(:rel, :id, :v2, :patch)',
	'cas_try_patch(:rel, :id, :v3, :patch2)',
	'cas_merge(:rel, :id, :patch)',
	'cas_apply(:rel, :id, :fn, :patch2)',
	'cas_put(:rel, :id, :doc)',
	'cas_try_create(:rel, :id, :doc)',
	'cas_try_rename(:rel, :id, :v5, :id2)',
	'cas_rename(:rel, :id2, :v6, :id)',
	'cas_try_delete(:rel, :id, :v1)',
	'cas_delete(:rel, :id, :v7)')
{
	my $text = $call =~ s/:/\$/gr;
	$script .=
	  "INSERT INTO app.answer (call, answer) SELECT '$text', t::text FROM $call AS t;\n";
}
# A composite value's text.
sub row
{
	return '('
	  . join(',',
		map { /[\s(),"\\]/ ? '"' . s/(["\\])/$1$1/gr . '"' : $_ } @_)
	  . ')';
}

my $file = PostgreSQL::Test::Utils::tempdir . '/script';
append_to_file($file, $script);

foreach my $protocol ('extended', 'prepared', 'simple')
{
	foreach my $table (sort keys %ids)
	{
		my ($id, $id2) = @{ $ids{$table} };
		my %variables = (
			rel => "app.$table",
			id => $id,
			id2 => $id2,
			ids => '{' . join(',', map { '"' . s/(["\\])/\\$1/gr . '"' } $id, $id2) . '}',
			mode => 'share',
			doc => '{"n": 1}',
			doc2 => '{"n": 2, "m": [1, null]}',
			patch => '{"n": null}',
			patch2 => '{"k": "v"}',
			fn => 'app.add(jsonb,jsonb)',
			map { ("v$_" => $_) } 1 .. 7);

		# in the simple protocol pgbench pastes the text itself: quoted, that
		# is an untyped literal
		if ($protocol eq 'simple')
		{
			$_ = q{'} . s/'/''/gr . q{'} foreach values %variables;
		}
		$node->safe_psql('postgres', 'TRUNCATE app.answer RESTART IDENTITY');
		$node->command_ok(
			[   'pgbench', '-n', '-c1', '-t1', '-M', $protocol, '-f', $file,
				(map { ('-D', "$_=$variables{$_}") } sort keys %variables),
				'postgres' ],
			"$protocol, $table: all calls work");
		is( $node->safe_psql('postgres',
				q{SELECT string_agg(answer, E'\n' ORDER BY n) FROM app.answer}),
			join("\n",
				1,
				row($id, 1, '{"n": 1}'),
				row($id, 1, '{"n": 1}'),
				row($id, 1, '{"n": 1}'),
				2,
				row('conflict', $id, 2, '{"m": [1, null], "n": 2}'),
				3,
				row('updated', $id, 4, '{"k": "v", "m": [1, null]}'),
				4,
				4,
				5,
				row('exists', $id, 5, '{"n": 1}'),
				row('renamed', $id2, 6, '{"n": 1}'),
				7,
				row('conflict', $id, 7, '{"n": 1}'),
				7),
			"$protocol, $table: with the right answers");
	}
}

# Nothing has been pasted into a statement: it is all parameters.
like(slurp_file($node->logfile),
	qr/execute \S+: INSERT .* FROM cas_update\(\$\d, \$\d, \$\d, \$\d\) AS t;?\n.*DETAIL:  (?i)parameters: /,
	'the log shows parameters');

done_testing();
