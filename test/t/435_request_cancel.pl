# Claim: whenever clients of the HTTP counter go away, no bump that was
# acknowledged is lost: after each of 20 (PG_CAS_LONG: 100) rounds with random
# cancellation points, the counter is 1 + the acknowledged bumps + some of those
# whose clients did not wait for the answer.
use strict;
use warnings;

use PgCasNeeds 'node';
use PgCas;
use PgCasService;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = long_or(20, 100);
seed(1);

my $node = pg_cas_node('main', 'fsync = off');
my $gate = PgCasService::gate($node);

# Rounds of a service: what went wrong in them.
sub rounds
{
	my ($mode, $rounds) = @_;
	my $service = PgCasService->start($node, $mode);
	my $wrong = 0;
	my $cancelled = 0;

	foreach my $round (1 .. $rounds)
	{
		my ($done, $maybe) = (0, 0);
		my $bump = sub {
			my ($status) = $service->ask('POST /bump', @_);
			$status //= '';
			$done++ if $status eq '204';
			$maybe++ if $status eq '';
			$wrong++, diag "bump: $status" if $status !~ /^(204|)$/;
		};

		$wrong++ if ($service->ask('POST /reset'))[0] ne '204';
		foreach my $i (1 .. 3)
		{
			$bump->();
			$service->ask('GET /sleep?seconds=0.01', rand 0.03);
			$bump->();
			$cancelled++ unless defined $service->leave_asleep($gate);
			$bump->();
			$bump->(rand 0.004);
			$bump->();
		}
		if ($round % 5 == 0)
		{
			$service->stop;
			$service = PgCasService->start($node, $mode);
		}

		# another session sees what is committed
		my $n = $node->safe_psql('postgres', 'SELECT n FROM counter');
		if ($n < 1 + $done || $n > 1 + $done + $maybe)
		{
			diag "round $round: $done acknowledged, $maybe perhaps: $n"
			  if $mode eq 'pg_cas';
			$wrong++;
		}
	}
	$service->stop;
	is($cancelled, 3 * $rounds, "$mode: three requests of each round were cancelled");
	return $wrong;
}

is(rounds('pg_cas', $rounds), 0, "$rounds rounds, no acknowledged bump lost");
cmp_ok(rounds('plain', 10), '>', 0, 'without pg_cas the same does lose some');

$gate->stop;

done_testing();
