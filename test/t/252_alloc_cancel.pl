# Claim: a call that waits for room can be cancelled, and statement_timeout and
# lock_timeout end it, also on a server so busy that they come together with the
# end of one of the slices of which the wait is made.
use strict;
use warnings;

use PgCas;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# The greatest length of a slice, in milliseconds.
use constant SLICE => 1000;

plan skip_all => 'needs /proc' if !-r "/proc/$$/status";

my $node = pg_cas_node('cancel', 'fsync = off', 'deadlock_timeout = 10s');
pg_cas_helpers($node, 'postgres');
$node->safe_psql('postgres', q{SELECT alloc_pool_create('one', '{1}', 'int'),
	alloc_pool_create('seat', '{}', 'count', capacity => 1), alloc_pool_create('free', '{1-9}', 'int')});

# A unit of each pool is held by an idle transaction.
my $holder = PgCasSession->start($node, 'postgres');
$holder->ask(q{BEGIN; SELECT alloc_int('one', k(1)), alloc_count('seat', k(1));});

# Is a signal waiting to be delivered to the process?
sub is_pending
{
	my ($pid, $signal) = @_;
	return scalar grep { /^(?:ShdPnd|SigPnd):\s*([0-9a-f]+)/ && hex($1) >> $signal - 1 & 1 }
	  split /\n/, slurp_file("/proc/$pid/status");
}

# Stop the session's process in a slice, until that has ended.  Returns false if the call
# has ended before that.
sub stop
{
	my ($session) = @_;
	my $pid = $session->{pid};
	my $ended;
	my $waits = sub {
		return $node->safe_psql('postgres',
			"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid") eq 't';
	};

	# A process that is at work is not stopped: it may have locks that all need.  If no
	# signal comes for five times as long as a slice, it was stopped between two of them.
	wait_until('it waits', sub {
		return 1 if $ended = $session->answered;
		return if !$waits->();
		kill 'STOP', $pid;
		my $polls = $waits->() ? 5 * SLICE / 20 : 0;
		foreach (1 .. $polls)
		{
			return 1 if is_pending($pid, 14);
			usleep(20_000);
		}
		kill 'CONT', $pid;
		return; });
	return !$ended;
}

# Let a call wait, and stop its process.  It goes on when the end of the slice and
# what $meanwhile does have come.  Returns undef if the call has not waited.
sub meets
{
	my ($settings, $call, $meanwhile) = @_;
	my $session = PgCasSession->start($node, 'postgres');
	my $pid = $session->{pid};

	$session->ask("$settings;");
	$session->send("SELECT $call;");
	if (!stop($session))
	{
		$session->stop;
		return;
	}
	$meanwhile->($pid);
	kill 'CONT', $pid;
	my $answer = $session->answer;
	$session->stop;
	return $answer;
}

my $cancel = sub { $node->safe_psql('postgres', "SELECT pg_cancel_backend($_[0])"); };
# The same with a timeout of 10 s, or of twice that as long as it is over before the
# call has begun to wait.
sub times_out
{
	my ($setting, $call) = @_;

	for (my $limit = 10;; $limit *= 2)
	{
		my $answer = meets("SET $setting = '${limit}s'", $call, sub {
			$node->poll_query_until('postgres',
				"SELECT now() > query_start + '${limit}s' FROM pg_stat_activity WHERE pid = $_[0]")
			  or die; });
		return $answer if defined $answer;
	}
}
my %calls = (
	'alloc_int' => q{alloc_int('one', k(2))},
	'alloc_many' => q{alloc_many('one', ARRAY[k(2), k(3)])},
	'alloc_set' => q{alloc_set('[{"pool": "free"}, {"pool": "one"}]', k(2))},
	'alloc_count' => q{alloc_count('seat', k(2))},
	'in line' => q{alloc_count('seat', k(2), wait => '1 day')});
foreach my $name (sort keys %calls)
{
	like(meets('', $calls{$name}, $cancel), qr/57014: canceling statement due to user request/,
		"$name is cancelled");
}
like(times_out('statement_timeout', $calls{$_}),
	qr/57014: canceling statement due to statement timeout/, "$_: statement_timeout")
  foreach 'alloc_set', 'in line';
like(times_out('lock_timeout', $calls{alloc_int}),
	qr/55P03: canceling statement due to lock timeout/, 'lock_timeout');

# lock_timeout is for each transaction: one that is met later, and waited for first, is
# waited for as long.  Returns how long that was, or undef if the call has ended before.
sub waits_for_second
{
	my ($limit) = @_;
	my ($early, $late, $session) = map { PgCasSession->start($node, 'postgres') } 1 .. 3;
	my $waits = sub {
		my ($condition) = @_;
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity
			WHERE pid = $session->{pid} AND state = 'active' AND NOT ($condition)") or die; };

	$early->ask('BEGIN; SELECT pg_current_xact_id();');
	$late->ask(q{BEGIN; SELECT alloc_count('pair', k(1));});
	$session->ask("SET lock_timeout = '${limit}s';");
	$session->send(q{SELECT alloc_count('pair', k(2), 2, wait => '1 day');});
	$waits->("now() > query_start + interval '${limit}s' / 2");
	my $since = time;
	$early->ask(q{SELECT alloc_release('pair', k(4));});
	$waits->("$early->{pid} = ANY (pg_blocking_pids(pid))");
	my $met = !$session->answered;
	like($session->answer, qr/55P03: canceling statement due to lock timeout/, "lock_timeout of $limit s");
	my $waited = time - $since;
	$_->stop foreach $early, $late, $session;
	return $met ? $waited : undef;
}

$node->safe_psql('postgres', q{SELECT alloc_pool_create('pair', '{}', 'count', capacity => 2),
	alloc_count('pair', k(4))});
my ($limit, $waited) = (2);
do { $limit *= 2; $waited = waits_for_second($limit); } until defined $waited;
cmp_ok($waited, '>=', $limit, 'another transaction is waited for as long');

# Nothing of it is left in the session.
my $session = PgCasSession->start($node, 'postgres');
$session->send("SELECT $calls{alloc_int};");
stop($session);
$holder->ask('ROLLBACK;');
kill 'CONT', $session->{pid};
is($session->answer, "1\n", 'what comes free meanwhile is taken');
is($session->ask('SELECT 2;'), "2\n", 'the session goes on');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
is($session->ask('SELECT 3;'), "3\n", 'and has nothing left to be cancelled');

# In a parallel query a call that would have to wait fails, and leaves nothing behind:
# not even if it is the subtransaction that cannot be started (before PostgreSQL 17).
$node->safe_psql('postgres', q{CREATE FUNCTION seats() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE
	AS $$BEGIN RETURN alloc_count('seat', k(2), wait => '0'); END$$});
my %locks = (
	'the pool' => [ q{SELECT alloc_pool_set('seat', cooldown => '0')},
		qr/25000: cannot execute alloc_count\(\) during a parallel operation/ ],
	'a table' => [ 'LOCK TABLE cas_internal.alloc_share IN SHARE MODE', qr/25000|55P03/ ]);
foreach my $what (sort keys %locks)
{
	my ($lock, $error) = @{ $locks{$what} };

	$holder->ask("BEGIN; $lock;");
	$session->ask(q{SET max_parallel_workers = 0; SELECT set_config(name, 'on', false)
		FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');});
	like($session->ask('SELECT seats();'), $error, "$what is locked: no wait in a parallel query");
	$session->ask(q{SELECT set_config(name, 'off', false)
		FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');});
	$session->send(qq{SELECT $calls{'in line'};});
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $session->{pid}") or die;
	$cancel->($session->{pid});
	like($session->answer, qr/57014: canceling statement due to user request/,
		"$what is locked: the next call is cancelled");
	$holder->ask('ROLLBACK;');
}
$_->stop foreach $session, $holder;
is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'all pools are sound');
$node->stop;
done_testing();
