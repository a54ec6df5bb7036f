# The races of a package-repository manager are lost as plain check-then-act
# SQL, each of them, and none is through pg_cas.
use strict;
use warnings;

use PgCas;
use Test::More;

my $node = pg_cas_node('repositories', 'fsync = off');

$node->command_ok(['examples/repositories/run'], 'examples/repositories/run');
my $lost = qr/^  plain  (?!ok)/m;
my $safe = qr/^  safe   ok$/m;
$node->command_checks_all(['examples/repositories/run'], 0,
	[ qr/(?:$lost.*?){10}/s, qr/(?:$safe.*?){10}/s ], [qr/^$/],
	'again, and there are ten races');

$node->stop;
done_testing();
