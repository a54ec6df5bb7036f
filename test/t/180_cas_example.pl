# Claim: examples/resource_versions shows each failure in plain SQL and none of
# them through pg_cas, for a superuser and for a database's owner who is none,
# with the extension there or not, and leaves nothing behind.  Its audit finds
# a lost update when there is one.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main');
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
my $example = 'examples/resource_versions/run';

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE gateway LOGIN;
CREATE DATABASE gateway OWNER gateway;
SQL

# Run it; answers with its exit code and its output.
sub run_example
{
	my ($db, $user) = @_;
	my ($stdout, $stderr);

	local %ENV = (
		%ENV,
		PGHOST => $node->host,
		PGPORT => $node->port,
		PGDATABASE => $db,
		PGUSER => $user);
	my $ok = IPC::Run::run([ 'bash', $example ],
		'<', \undef, '>', \$stdout, '2>', \$stderr);
	return ($ok ? 0 : 1, $stdout . $stderr);
}

sub check
{
	my ($name, $db, $user) = @_;
	my $objects = q{SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension
		UNION ALL SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace
		WHERE nspname !~ '^pg_'};
	my $before = $node->safe_psql($db, $objects);
	my ($rc, $output) = run_example($db, $user);

	is($rc, 0, "$name: succeeds") or diag($output);
	like($output, qr/lost +providers that survived +1$/m, "$name: a lost update, plain");
	is(scalar(() = $output =~ /^    lost /mg), 4, "$name: four failures, plain");
	unlike($output, qr/WRONG|[^"]ERROR: (?!.*(?:PT409|23505))/, "$name: and no other");
	like($output, qr/^    ok +sb-1: version = 1 \+ (\d+) winning calls +\d+$/m,
		"$name: versions are wins");
	like($output, qr/^258 changes: \d+ won, .* nothing was lost$/m,
		"$name: the audit's last word");
	is($node->safe_psql($db, $objects), $before, "$name: leaves nothing");
}

check('superuser', 'postgres', $superuser);
check('owner, extension made and dropped', 'gateway', 'gateway');
check('again', 'gateway', 'gateway');

# A trigger that empties a list once.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	new.doc := jsonb_set(new.doc, '{providers}', '[]');
	RETURN new;
END
$$;
CREATE FUNCTION sabotage() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'lose') THEN
		CREATE TRIGGER lose BEFORE UPDATE ON resource_versions_example.object
			FOR EACH ROW WHEN (old.resource_version = 20) EXECUTE FUNCTION public.lose();
	END IF;
END
$$;
CREATE EVENT TRIGGER sabotage ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER')
	EXECUTE FUNCTION sabotage();
SQL
my ($rc, $output) = run_example('postgres', $superuser);
is($rc, 1, 'a lost update fails it');
like($output, qr/WRONG: sb-1: its list is not what was attached/, 'and is found');

done_testing();
