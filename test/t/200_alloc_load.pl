# Claim: sessions that allocate and release at random, in pools of three sizes
# that are full most of the time, while sessions are killed at random, then a
# backend by SIGKILL, then the whole server, never get a unit twice, never
# lose one that they were told of, and leave pools that are sound.
#
# Between two of 20 kills, and before and after each crash, the sessions get
# 400 answers; PG_CAS_LONG=1 makes it 200 kills.  PG_CAS_SEED (1) says what they
# ask for.
use strict;
use warnings;

use IO::Handle;
use IPC::Open2;
use IPC::Run;
use POSIX ();
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = long_or(20, 200);
my $seed = seed(1);
my $nworkers = 32;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;

my $node = pg_cas_node('load', 'max_connections = 60', 'fsync = off',
	'restart_after_crash = on', 'log_min_messages = fatal');
my $connstr = $node->connstr('postgres');

# Full with 200 units free, whatever the size: the rest is reserved.
$node->safe_psql('postgres', <<'SQL');
SELECT alloc_pool_create('small', '{10.0.0.0-10.0.0.255}', strategy => 'lowest');
SELECT alloc_pool_create('medium', '{10.0.0.0/16}');
SELECT alloc_reserve('medium', '10.0.0.0-10.0.255.53');
SELECT alloc_pool_create('large', '{10.0.0.0/8}', strategy => 'random');
SELECT alloc_reserve('large', '10.0.0.0-10.255.255.53');
SELECT alloc_pool_create('chunks', '{10.0.0.0-10.0.0.31}', port_chunk => 8192);
SELECT alloc_pool_create('prefixes', '{2001:db8::/48}', 'prefix');
SELECT alloc_reserve('prefixes', '2001:db8:0:100::-2001:db8:0:ffff:ffff:ffff:ffff:ffff');
SQL

# One session: writes to its journal what it asks for and what it was told,
# until there is a file that says that it is enough.
sub work
{
	my ($worker, $phase) = @_;
	my ($in, $out, $pid);
	open my $journal, '>>', "$tmp/journal.$worker" or die;
	$journal->autoflush(1);
	srand($seed + $worker + 1000 * $phase);

	until (-e "$tmp/enough.$phase")
	{
		if (!$pid)
		{
			$pid = open2($out, $in, 'psql', '-XAtq', '-F', ' ', '-d',
				$connstr . " application_name=worker$worker");
			$in->autoflush(1);
		}
		my $pool = (qw(small small medium large chunks chunks prefixes))[ rand 7 ];
		my $n = int rand 12;
		my $key = sprintf '%08d-0000-0000-0000-%012d', $worker, $n;
		if (rand() < 0.6)
		{
			my $form =
				$pool eq 'chunks' ? ($n % 3 ? 'ports' : 'ip')
			  : $pool eq 'prefixes' ? 'prefix'
			  : 'ip';
			my $more = $form eq 'prefix' ? ', ' . (56 + $n % 9) : '';
			print $journal "ask $pool $key\n";
			print $in
			  "SELECT outcome, value FROM alloc_try_$form('$pool', '$key'$more);\n\\echo\n";
		}
		else
		{
			print $journal "release $pool $key\n";
			print $in "SELECT 'released', alloc_release('$pool', '$key');\n\\echo\n";
		}

		# an error answers with the empty line alone
		my ($answer, $line);
		while (defined($line = <$out>) && $line ne "\n")
		{
			chomp($answer = $line);
		}
		if (!defined $line)
		{
			# killed: nothing is known of what was asked last
			close $in;
			close $out;
			waitpid $pid, 0;
			undef $pid;
			usleep 50_000;
			next;
		}
		print $journal "told $pool $key $answer\n" if defined $answer;
	}
	if ($pid)
	{
		close $in;
		waitpid $pid, 0;
	}
	return;
}

# Wait until the workers have got so many more answers.
sub more_answers
{
	my ($n) = @_;
	my $count = sub {
		my $count = 0;
		foreach my $worker (1 .. $nworkers)
		{
			$count += () = slurp_file("$tmp/journal.$worker") =~ /^told/mg;
		}
		return $count;
	};
	my $before = $count->();

	wait_until("$n answers", sub { $count->() >= $before + $n });
	return;
}

# One of the workers' backends.
sub backend
{
	return wait_until('a session', sub {
		$node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity
			WHERE application_name ~ '^worker' ORDER BY random() LIMIT 1});
	});
}

# Let the workers loose, do something to the server meanwhile, and wait.
my $phase = 0;

sub load
{
	my ($meanwhile) = @_;
	my @pids;

	local $SIG{PIPE} = 'IGNORE';
	$phase++;
	foreach my $worker (1 .. $nworkers)
	{
		append_to_file("$tmp/journal.$worker", '');
		my $pid = fork;
		die unless defined $pid;
		if ($pid == 0)
		{
			open STDERR, '>>', "$tmp/errors";
			work($worker, $phase);
			POSIX::_exit(0);
		}
		push @pids, $pid;
	}
	$meanwhile->();
	append_to_file("$tmp/enough.$phase", '');
	waitpid $_, 0 foreach @pids;
	return;
}

# What the journals say must be there, is there; and nothing is there twice.
sub check
{
	my ($name) = @_;
	my %told;
	my %units;
	my $told = 0;

	foreach my $worker (1 .. $nworkers)
	{
		open my $journal, '<', "$tmp/journal.$worker" or die;
		while (<$journal>)
		{
			my ($what, $pool, $key, $outcome, $value) = split;
			# once a release is asked for, or a held unit was asked for again
			# under a new connection, only the answer says how it stands
			delete $told{"$pool $key"} if $what eq 'release';
			$told{"$pool $key"} = $value
			  if $what eq 'told' && $outcome =~ /^(allocated|held)$/;
			$told++ if $what eq 'told';
		}
		close $journal;
	}
	foreach (split /\n/, $node->safe_psql('postgres',
			"SELECT pool || ' ' || key || '=' || value FROM alloc_units"))
	{
		my ($key, $value) = split /=/;
		$units{$key} = $value;
	}
	my @lost = grep { ($units{$_} // '') ne $told{$_} } sort keys %told;
	is("@lost[0 .. ($#lost > 3 ? 3 : $#lost)]", '',
		"$name: every unit that a client was told of is there ($told answers)");
	is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'),
		'', "$name: alloc_verify finds nothing");
	is( $node->safe_psql('postgres', <<'SQL'), '0', "$name: no units overlap");
SELECT count(*) FROM alloc_units AS a JOIN alloc_units AS b
ON a.pool = b.pool AND a.key < b.key AND a.address && b.address
AND (a.ports && b.ports) IS NOT FALSE
SQL
	return;
}

load(sub {
	foreach (1 .. $kills)
	{
		more_answers(400);
		$node->safe_psql('postgres', "SELECT pg_terminate_backend(${\backend()})");
	}
	more_answers(400);
});
check('sessions killed');

load(sub {
	more_answers(400);
	my $pid = backend();
	kill 'KILL', $pid;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
	more_answers(400);
});
check('backend crashed');

load(sub {
	more_answers(400);
	$node->stop('immediate');
	$node->start;
	more_answers(400);
});
check('server crashed');

# the pools are in order: they can be used up, and then are
is( $node->safe_psql('postgres', <<'SQL'), 't|t', 'what is free can be had, and no more');
CREATE TEMP TABLE before AS SELECT free FROM alloc_usage('small');
SELECT count(*) FILTER (WHERE outcome = 'allocated') = (SELECT free FROM before),
	count(*) FILTER (WHERE outcome = 'exhausted') > 0
FROM generate_series(1, 300) AS n, alloc_try_ip('small', md5(n::text)::uuid);
SQL
is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'and are sound');

# eight sessions that hold at most one unit each never exhaust a pool of eight
my $churn = "$tmp/churn.sql";
append_to_file($churn, <<'SQL');
\set n random(1, 1000000000)
SELECT alloc_ip(:pool, md5(:client_id || ' ' || :n)::uuid);
SELECT alloc_release(:pool, md5(:client_id || ' ' || :n)::uuid);
SQL
foreach my $kind ('any', 'lowest', 'random', 'chunks8')
{
	$node->safe_psql('postgres', $kind eq 'chunks8'
		? "SELECT alloc_pool_create('chunks8', '{10.0.0.0-10.0.0.7}', port_chunk => 32768)"
		: "SELECT alloc_pool_create('$kind', '{10.0.0.0-10.0.0.7}', strategy => '$kind')");
	$node->command_ok(
		[ 'pgbench', '-n', '-M', 'prepared', '-c', 8, '-t', 500, '-D', "pool=$kind",
			'-f', $churn, 'postgres' ],
		"eight sessions never exhaust a pool of eight: $kind");
}
is($node->safe_psql('postgres', 'SELECT * FROM alloc_verify()'), '', 'and leave it sound');

# 64 sessions with one key
my @sessions;
my $same = "SELECT alloc_ip('medium', '99999999-0000-0000-0000-000000000000')";
$node->append_conf('postgresql.conf', 'max_connections = 100');
$node->restart;
my $barrier = $node->background_psql('postgres');
$barrier->query_safe('SELECT pg_advisory_lock(1)');
foreach (1 .. 64)
{
	my $out = '';
	my $err = '';
	push @sessions,
	  [ IPC::Run::start(
			[ 'psql', '-XAtq', '-d', $connstr, '-c',
				'SELECT pg_advisory_lock_shared(1)', '-c', $same ],
			'<', \undef, '>', \$out, '2>', \$err), \$out, \$err ];
}
$node->poll_query_until('postgres',
	q{SELECT count(*) = 64 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 1});
$barrier->quit;
my %answers;
foreach (@sessions)
{
	my ($session, $out, $err) = @$_;
	$session->finish;
	my ($answer) = grep { /\S/ } split /\n/, $$out;
	$answers{ ($answer // 'none') . $$err }++;
}
is(scalar keys %answers, 1, '64 sessions with one key get one value, and no error')
  or diag(explain(\%answers));

# what the sessions complained of is that they were killed
my @complaints = grep { /ERROR/ && !/connection|recovery|shutting down|starting up/ }
  split /\n/, slurp_file("$tmp/errors");
is("@complaints[0 .. ($#complaints > 3 ? 3 : $#complaints)]", '', 'no call raised an error');

$node->stop;
done_testing();
