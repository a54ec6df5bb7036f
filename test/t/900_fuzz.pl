# Claim: in a short run with a fixed seed, each driver of test/fuzz finds no
# difference between what is answered and what its model says or other answers
# and the tables do, and afterwards alloc_verify(), amcheck and the server's log have nothing to say.
#
# PG_CAS_LONG=1 makes it a hundred times as many operations; PG_CAS_SEED (1) is
# the seed.
use strict;
use warnings;

use IPC::Run;
use PgCasNeeds 'python';
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PG_CAS_SEED} // 1;
my $node = pg_cas_node('fuzz', 'fsync = off', q{log_line_prefix = '%m [%p] %q%a %e '},
	'log_min_messages = warning', 'wal_level = logical');

local @ENV{qw(PGHOST PGPORT PGUSER)} = ($node->host, $node->port, scalar getpwuid $<);
foreach my $family ('alloc', 'units', 'lock', 'rows', 'swaps', 'requests')
{
	my ($out, $err);
	ok( IPC::Run::run(
			[   'test/fuzz/run', '--here', $family, '--seed', $seed,
				'--ops', long_or(400, 50_000), '--log', $node->logfile ],
			'<', \undef, '>', \$out, '2>', \$err),
		$family) or diag($out, $err);
}

$node->stop;
done_testing();
