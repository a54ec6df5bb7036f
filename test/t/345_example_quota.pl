# The last seat goes to many by count and then insert, and to one through pg_cas;
# a hold that has run out is not sold a second time.
use strict;
use warnings;

use PgCas;
use Test::More;

my $node = pg_cas_node('quota', 'fsync = off');

$node->command_checks_all(['examples/quota/run'], 0,
	[   qr/insert:\n  seats taken: (?!1\n)\d+\n/,
		qr/alloc_count\(\):\n +31   exhausted\n +1   allocated\n  seats taken: 1\n/,
		qr/ben: allocated\n  ann: the hold has run out\n  ben: paid; items sold: 1\n/ ],
	[qr/^$/], 'examples/quota/run');
is($node->safe_psql('postgres', 'SELECT count(*) FROM alloc_pools'), '0',
	'and nothing is left');

$node->stop;
done_testing();
