# PgCas.pm: servers with pg_cas in them, for the TAP tests.
#
# The tests stand on PostgreSQL's own PostgreSQL::Test modules; "make prove"
# and scripts/test say where those are.
package PgCas;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;

our @EXPORT = qw(pg_cas_node);

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

1;
