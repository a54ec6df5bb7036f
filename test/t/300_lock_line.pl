# Waiters for a resource are served in the order of their arrival, the
# exclusive among sharers that keep coming included; and who does not wait is
# told who holds it.
#
# PG_CAS_RUNS is the number of runs, 3 unless set.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;

my $runs = $ENV{PG_CAS_RUNS} || 3;
seed(1);
my $node = pg_cas_node('line', 'max_prepared_transactions = 5',
	'max_connections = 60', 'autovacuum = off', 'fsync = off');
my @psql = ('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d',
	$node->connstr('postgres'));

$node->safe_psql('postgres', q{
	CREATE TABLE served (n serial, who int, exclusive boolean);
	CREATE SEQUENCE granted;
});

# The holder is a prepared transaction, which needs no session.
sub hold
{
	$node->safe_psql('postgres', q{
		BEGIN; SELECT lock_acquire('{line}'); PREPARE TRANSACTION 'holder'});
}

sub let_go
{
	$node->safe_psql('postgres', q{COMMIT PREPARED 'holder'});
}

# Eleven waiters come one after the other; which of them are exclusive, the
# run says.  Return who was served in the wrong order.
sub eleven
{
	my ($is_exclusive) = @_;
	my @waiters;

	hold();
	foreach my $who (1 .. 11)
	{
		my $exclusive = $is_exclusive->($who) ? 'true' : 'false';
		my $names = $exclusive eq 'true' ? q('{line}') : q('{}', '{line}');

		push @waiters, IPC::Run::start(
			[ @psql, '-c', qq{
				BEGIN; SELECT lock_acquire($names);
				INSERT INTO served (who, exclusive) VALUES ($who, $exclusive);
				COMMIT} ], '<', \undef, '>', \my $out, '2>', \my $err);
		$node->poll_query_until('postgres',
			"SELECT count(*) = $who FROM lock_holders WHERE waiting")
		  or die 'waiter does not wait';
	}
	let_go();
	$_->finish or die 'waiter failed' foreach @waiters;
	return $node->safe_psql('postgres', q{
		SELECT a.who, b.who FROM served AS a JOIN served AS b ON a.who < b.who
		WHERE (a.exclusive OR b.exclusive) AND a.n > b.n;
		TRUNCATE served RESTART IDENTITY});
}

foreach my $run (1 .. $runs)
{
	is(eleven(sub { 1 }), '', "run $run: eleven exclusive waiters");
	is(eleven(sub { $_[0] == 1 + $run % 11 }), '',
		"run $run: an exclusive waiter among ten sharers");
	is(eleven(sub { rand() < 0.5 }), '', "run $run: any of them");
}

# Ten sharers keep coming, so that the resource is never free.  Of those who
# come after the exclusive waiter none is served before it.  A gate, a lock on
# a table, stops the ten while they hold the resource; once the exclusive one
# is in line, they may go on, and ask again at once.
$node->safe_psql('postgres', 'CREATE TABLE gate ()');
my $script = $node->basedir . '/sharer.sql';
append_to_file($script, q{BEGIN;
SELECT lock_acquire('{}', '{busy}');
SELECT nextval('granted');
SELECT FROM gate;
COMMIT;
});
my ($out, $err);
my $sharers = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '10', '-j', '2', '-T', 1_000_000, '-f', $script,
		$node->connstr('postgres') ], '<', \undef, '>', \$out, '2>', \$err);
foreach my $run (1 .. $runs)
{
	$node->safe_psql('postgres',
		q{BEGIN; LOCK TABLE gate; PREPARE TRANSACTION 'gate'});
	$node->poll_query_until('postgres', q{
		SELECT count(*) = 10 FROM pg_locks
		WHERE relation = 'gate'::regclass AND NOT granted})
	  or die 'no sharers';
	my $before = $node->safe_psql('postgres', 'SELECT last_value FROM granted');
	my $after;
	my $exclusive = IPC::Run::start([ @psql, '-c', q{
			BEGIN;
			SELECT mode FROM lock_acquire('{busy}');
			SELECT last_value FROM granted;
			COMMIT} ], '<', \undef, '>', \$after, '2>', \my $error);
	$node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM lock_holders WHERE waiting AND mode = 'exclusive'})
	  or die 'the exclusive one does not wait';
	$node->safe_psql('postgres', q{COMMIT PREPARED 'gate'});
	$exclusive->finish or die "the exclusive one failed: $error";
	is($after, "exclusive\n$before\n", "run $run: sharers keep coming");
	$node->poll_query_until('postgres', "SELECT last_value > $before + 20 FROM granted")
	  or die 'no sharers any more';
}
$sharers->signal('KILL');
$sharers->finish;

# Who does not wait is told who holds it, and in which mode.
my $holder = IPC::Run::start([ @psql, '-c', q{
		SET application_name = 'holder';
		BEGIN; SELECT lock_acquire('{told x}', '{told s}'); SELECT pg_sleep(100)} ],
	'<', \undef, '>', \$out, '2>', \$err);
$node->poll_query_until('postgres',
	q{SELECT count(*) = 2 FROM lock_holders WHERE name LIKE 'told%'})
  or die 'no holder';
my $pid = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE application_name = 'holder'});
foreach my $wait (q{'0'}, q{'50ms'})
{
	my ($ret, $stdout, $stderr) = $node->psql('postgres',
		qq{\\set VERBOSITY verbose
		BEGIN; SELECT lock_acquire('{told s}', wait => $wait)});
	like($stderr, qr/ERROR:  55P03: .*"told s"/, "wait $wait: 55P03");
	like($stderr,
		qr/\Q{"resource": "told s", "mode": "exclusive", "holders": [{"pid": $pid, "mode": "shared"}]}\E/,
		"wait $wait: the holder");
}
my ($ret, $stdout, $stderr) = $node->psql('postgres', q{
	SET lock_timeout = '50ms'; BEGIN; SELECT lock_acquire('{}', '{told x}')});
like($stderr, qr/\Q"holders": [{"pid": $pid, "mode": "exclusive"}]\E/,
	'lock_timeout: the holder');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$holder->finish;

# A transaction that was prepared has no process.
hold();
($ret, $stdout, $stderr) = $node->psql('postgres',
	q{BEGIN; SELECT lock_acquire('{line}', wait => '0')});
like($stderr, qr/\Q"holders": [{"pid": null, "mode": "exclusive"}]\E/,
	'a prepared transaction');
let_go();

$node->stop;
done_testing();
