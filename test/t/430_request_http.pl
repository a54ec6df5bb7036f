# Claim: the counter behind HTTP (examples/counter), whose pool has one
# connection and whose cancelled requests leave their transaction open, loses
# what it has acknowledged; the same service with claims on check-out does not,
# and says what it did about the connection.
use strict;
use warnings;

use PgCasNeeds 'node';
use PgCas;
use PgCasService;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main');
my $gate = PgCasService::gate($node);

# Bump, cancel a sleep, bump: the numbers that clients saw, and the one that is
# there after a restart of the service.
sub story
{
	my ($mode) = @_;
	my $service = PgCasService->start($node, $mode);
	my @seen;

	is(($service->ask('POST /reset'))[0], 204, "$mode: reset");
	is(($service->ask('POST /bump'))[0], 204, "$mode: bump") for 1 .. 6;
	push @seen, ($service->ask('GET /counter'))[1];

	is($service->leave_asleep($gate), undef, "$mode: the client of /sleep goes away");
	is(($service->ask('POST /bump'))[0], 204, "$mode: bump after it")
	  for 1 .. 2;
	push @seen, ($service->ask('GET /counter'))[1];

	my $complaints = $service->stop;
	$service = PgCasService->start($node, $mode);
	push @seen, ($service->ask('GET /counter'))[1];
	$service->stop;
	return ("@seen", $complaints);
}

my ($seen, $complaints) = story('plain');
is($seen, '7 9 7', 'plain: it counts backwards over a restart');
is($complaints, '', '... and nobody has noticed');

($seen, $complaints) = story('pg_cas');
is($seen, '7 9 9', 'pg_cas: what clients were told is what is there');
like(
	$complaints,
	qr/^replaced a connection: the open transaction belongs to another request \{"claimed": "check-out", "claim": "[0-9a-f-]{36}"\}\n$/,
	'... the leak was found, once, and the connection replaced');

$gate->stop;

# With the claims in place, the server has ended the transaction at once.
is( $node->safe_psql(
		'postgres',
		q{SELECT count(*) FROM pg_stat_activity
		WHERE state LIKE 'idle in transaction%'}),
	'0',
	'no transaction is left open');
like(slurp_file($node->logfile),
	qr/FATAL:  the open transaction belongs to another request/,
	'the server log tells of it');

done_testing();
