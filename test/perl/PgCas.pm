# PgCas.pm: servers with pg_cas in them, for the TAP tests.
#
# The tests stand on PostgreSQL's own PostgreSQL::Test modules; "make prove"
# and scripts/test say where those are.
package PgCas;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(pg_cas_node pg_cas_helpers long_or wait_until seed);

# A running server with the extension in its database postgres.  What follows
# the name are lines for postgresql.conf, and, before them, a hash of what
# Cluster's init() takes.
sub pg_cas_node
{
	my ($name, @conf) = @_;
	my %init = ref $conf[0] ? %{ shift @conf } : ();
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%init);
	$node->append_conf('postgresql.conf', $_) foreach @conf;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cas');
	return $node;
}

# Put the helpers of test/helpers into a database of a node.
sub pg_cas_helpers
{
	my ($node, $database) = @_;
	$node->safe_psql($database, slurp_file('test/helpers/pg_cas_test.sql'));
	return;
}

# How much work a test does: the first number, or the second one in a long run.
sub long_or
{
	my ($short, $long) = @_;
	return $ENV{PG_CAS_LONG} ? $long : $short;
}

# The seed of all that a test draws by lot, which it says: this number, or
# PG_CAS_SEED.
sub seed
{
	my ($seed) = @_;
	$seed = $ENV{PG_CAS_SEED} // $seed;
	print "# PG_CAS_SEED=$seed\n";
	srand($seed);
	return $seed;
}

# Wait until a condition is true, and return what it says.  It may take as
# long as anything in a test (PG_TEST_TIMEOUT_DEFAULT).
sub wait_until
{
	my ($what, $condition) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;

	while (1)
	{
		my $answer = $condition->();
		return $answer if $answer;
		die "timed out: $what" if time > $until;
		usleep(20_000);
	}
}

1;
