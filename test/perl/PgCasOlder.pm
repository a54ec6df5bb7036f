# PgCasOlder.pm: a server of an older major version with pg_cas, for tests of
# upgrades.  PG_CAS_OLDER is its pg_config; scripts/test sets it if it finds an
# older server that pg_cas supports.
package PgCasOlder;

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(pg_cas_older);

# A node of the older version, which is running, or nothing if there is no such
# server.  What follows the name are lines for postgresql.conf.
sub pg_cas_older
{
	my ($name, @conf) = @_;

	return unless $ENV{PG_CAS_OLDER};

	# Settings that scripts/test was given may be of the newer version.
	delete local $ENV{TEMP_CONFIG};
	my $node = PostgreSQL::Test::Cluster->new($name,
		install_path => dirname(dirname($ENV{PG_CAS_OLDER})));
	$node->init;
	$node->append_conf('postgresql.conf', $_) foreach @conf;
	$node->start;
	return $node;
}

1;
