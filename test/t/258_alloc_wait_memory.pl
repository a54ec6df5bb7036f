# Claim: a call that waits for hours, and looks again each time that something is
# released, does not need more and more memory.
use strict;
use warnings;

use PgCas;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# From the first of these looks to the last one, arrays grow by less than this, while
# 100 bytes for each gap in each look were 2 MB.
use constant { FIRST => 20, LOOKS => 200, LIMIT => 128 * 1024 };

my $node = pg_cas_node('memory', 'fsync = off');
pg_cas_helpers($node, 'postgres');

my $holder = PgCasSession->start($node, 'postgres');

# How many bytes the session has in use.
sub used
{
	my ($pid) = @_;
	my $at = -s $node->logfile;
	my $used;

	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($pid)");
	wait_until('memory is reported', sub {
		($used) = slurp_file($node->logfile, $at) =~ /Grand total: .*; (\d+) used/; });
	return $used;
}

# Places of a pool are released, one after the other.  The head of the line waits for
# each transaction that does so, and then looks again.
$node->safe_psql('postgres', q{SELECT alloc_pool_create('seats', '{}', 'count', capacity => 1000);
	SELECT count(alloc_count('seats', k(i))) FROM generate_series(1, 1000) i});
my $session = PgCasSession->start($node, 'postgres');
my $pid = $session->{pid};
my $used;

$session->send(q{SELECT alloc_count('seats', k(2001), 900, wait => '1 h');});
for my $look (1 .. LOOKS)
{
	# every other one, so that there are ever more gaps to look into
	$holder->ask("BEGIN; SELECT alloc_release('seats', k(2 * $look)), pg_current_xact_id();");
	wait_until('it waits for the release', sub {
		$node->safe_psql('postgres', "SELECT count(*) FROM pg_locks
			WHERE pid = $pid AND locktype = 'transactionid' AND NOT granted
			AND transactionid = (SELECT backend_xid FROM pg_stat_activity WHERE pid = $holder->{pid})") == 1; });
	$used = used($pid) if $look == FIRST;
	$holder->ask('COMMIT;');
}
cmp_ok(used($pid) - $used, '<', LIMIT, 'its memory does not grow');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
like($session->answer, qr/canceling statement/, 'it still waited');
$session->stop;
$holder->stop;
done_testing;
