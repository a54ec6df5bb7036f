# Claim: with pg_cas.log_conflicts on, every conflict is one LOG line on the
# server, whose DETAIL is JSON with role and application_name: those that are
# raised, those that a try form answers, and those that the guard finds, UPDATEs
# among them that name no version where one is demanded (PT428).  The
# client sees none of it, nothing else is logged, and only a superuser sets it.
use strict;
use warnings;

use JSON::PP;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main',
	"log_line_prefix = '%q%e '\nlog_min_error_statement = panic\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE "an ""app" LOGIN;
CREATE TABLE doc (id text PRIMARY KEY, d jsonb);
CREATE TABLE dry (id text PRIMARY KEY, n int);
SELECT cas_enable('doc', payload_column => 'd', unversioned => 'reject');
SELECT cas_enable('dry', enforce => 'warn');
INSERT INTO doc VALUES ('a"\', '{}'), ('b', '{}');
INSERT INTO dry VALUES ('a', 1);
GRANT ALL ON doc, dry TO "an ""app";
SQL

# Run SQL as that role.  Answers with what the client saw and the details of
# the conflicts that were logged.
sub conflicts
{
	my ($sql, $settings) = @_;
	my $offset = -s $node->logfile;
	my ($stdout, $stderr, $log, @details);

	$node->psql(
		'postgres', $sql,
		stdout => \$stdout,
		stderr => \$stderr,
		on_error_stop => 0,
		connstr => $node->connstr('postgres')
		  . q{ user='an "app' application_name='the \\\\ "app'}
		  . ($settings ? " options='$settings'" : ''));

	# a session's lines are in the log before it ends
	$log = slurp_file($node->logfile, $offset);
	while ($log =~ /^PT4(?:09|28) LOG:  (?:version conflict in|an UPDATE of) table "\w+".*\n(PT4.. DETAIL:  (.*)\n)?/mg)
	{
		push @details, eval { decode_json($2) } // "not JSON: $2";
	}
	is(scalar(() = $log =~ / LOG:  (?:version conflict|an UPDATE of table)/g),
		scalar @details, 'each has its line and no other');
	unlike($stdout . $stderr, qr/LOG:|application_name/,
		'the client sees nothing of it');
	return ("$stdout\n$stderr", @details);
}

my @by = (
	role => 'an "app',
	application_name => 'the \\ "app');

# The conflicts by statement, and what is logged of each.
my @cases = (
	q{SELECT cas_update('doc', 'a"\', 7, '[]')} =>
	  [ { table => 'public.doc', id => 'a"\\', expected => 7, actual => 1, @by } ],
	q{SELECT cas_try_update('doc', 'a"\', 0, '[]')} =>
	  [ { table => 'public.doc', id => 'a"\\', expected => 0, actual => 1, @by } ],
	q{SELECT cas_try_patch('doc', 'b', 2, '[]')} =>
	  [ { table => 'public.doc', id => 'b', expected => 2, actual => 1, @by } ],
	q{SELECT cas_try_delete('doc', 'b', 2)} =>
	  [ { table => 'public.doc', id => 'b', expected => 2, actual => 1, @by } ],
	q{SELECT cas_rename('doc', 'b', 2, 'c')} =>
	  [ { table => 'public.doc', id => 'b', expected => 2, actual => 1, @by } ],
	q{UPDATE doc SET resource_version = 5 WHERE id = 'b'} =>
	  [ { table => 'public.doc', id => 'b', expected => 4, actual => 1, @by } ],
	# the dry run lets it pass, and tells
	q{UPDATE dry SET resource_version = 5} =>
	  [ { table => 'public.dry', id => 'a', expected => 4, actual => 1, @by } ],
	# three in one statement, and one that was rolled back
	q{SELECT cas_try_update('doc', 'b', n, '[]') FROM generate_series(7, 9) AS n} =>
	  [ map { { table => 'public.doc', id => 'b', expected => $_, actual => 1, @by } } 7 .. 9 ],
	q{BEGIN; SELECT cas_try_update('doc', 'b', 3, '[]'); ROLLBACK} =>
	  [ { table => 'public.doc', id => 'b', expected => 3, actual => 1, @by } ],
	# these are no conflicts
	q{SELECT cas_try_update('doc', 'none', 3, '[]')} => [],
	q{SELECT cas_try_create('doc', 'b', '[]')} => [],
	q{SELECT cas_try_rename('doc', 'b', 1, 'a"\')} => [],
	q{SELECT cas_try_update('doc', 'b', 1, '{}')} => [],
	# an UPDATE that names no version where one is demanded
	q{UPDATE doc SET d = '[]' WHERE id = 'b'} =>
	  [ { table => 'public.doc', id => 'b', @by } ]);

# Off, as it is by default.
my ($seen, @details) = conflicts($cases[0]);
like($seen, qr/version conflict/, 'a conflict is raised');
is_deeply(\@details, [], 'and not logged');
like(
	(conflicts('SET pg_cas.log_conflicts = on; SELECT cas_get(NULL, NULL)'))[0],
	qr/permission denied to set parameter/,
	'the role may not set it');

# It can be set before the library is loaded.
$node->append_conf('postgresql.conf', 'pg_cas.log_conflicts = on');
$node->reload;
for (my $i = 0; $i < @cases; $i += 2)
{
	($seen, @details) = conflicts($cases[$i]);
	is_deeply(\@details, $cases[ $i + 1 ], $cases[$i])
	  or diag(explain(\@details));
}

# Whoever may not read the row finds nothing of it in his error; the log is
# the server's.
$node->safe_psql('postgres', <<'SQL');
REVOKE ALL ON doc FROM "an ""app";
GRANT UPDATE ON doc TO "an ""app";
SQL
($seen, @details) = conflicts('UPDATE doc SET resource_version = 9');
unlike($seen, qr/"actual"|"id"/, 'the blind learns nothing');
is(scalar @details, 1, 'and is logged');

done_testing();
