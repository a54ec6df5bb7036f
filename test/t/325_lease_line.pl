# Those who wait for a lease get it in order of arrival: when it is released,
# when it expires, and when the guarded transaction of a holder that has gone
# ends.
use strict;
use warnings;

use PgCas;
use PgCasSession;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('lease_line');
my %sessions = map { $_ => PgCasSession->start($node, 'postgres') }
  qw(one two three four);

# Wait for a condition of pg_stat_activity's row of a session.
sub until_it
{
	my ($name, $condition) = @_;

	$node->poll_query_until('postgres', qq{
		SELECT $condition FROM pg_stat_activity
		WHERE pid = $sessions{$name}{pid}})
	  or die "$name: not $condition";
	return;
}

# Let a session wait: the first of the line sleeps, or waits for a transaction;
# the others wait for their turn.
sub in_line
{
	my ($name, $how, $arguments) = @_;

	$sessions{$name}->send("SELECT lease_acquire('job', '$name', $arguments);");
	until_it($name,
		$how eq 'sleeps' ? "wait_event_type = 'Extension'"
		: "wait_event_type = 'Lock' AND wait_event = '$how'");
	return;
}

sub holder
{
	return $node->safe_psql('postgres',
		q{SELECT holder FROM lease_holders WHERE name = 'job'});
}

# Released, it goes to who came first; expired, to the next.
my $fence = $sessions{one}->ask("SELECT lease_acquire('job', 'one', '1h');") + 0;
in_line('two', 'sleeps', q{'1h', '1h'});
in_line('three', 'advisory', q{'1h', NULL});
in_line('four', 'advisory', q{'1h', '1h'});
is($node->safe_psql('postgres', q{
		SELECT fence, holder FROM lease_try_acquire('job', 'five', '1h')}),
	'|one', 'who only tries does not pass the line');
is($node->safe_psql('postgres', 'SELECT count(*) FROM lock_holders'), '0',
	'leases are not among the locks');
is($sessions{one}->ask("SELECT lease_release('job', $fence);"), "t\n", 'released');
my $second = $sessions{two}->answer + 0;
cmp_ok($second, '>', $fence, 'the first in line has it, with a larger fence');
is(holder(), 'two', 'and it alone');
until_it('three', "wait_event_type = 'Extension'");
is( $sessions{two}->ask("SELECT lease_renew('job', $second, '1 ms') IS NOT NULL;"),
	"t\n", 'soon to expire');
my $third = $sessions{three}->answer + 0;
cmp_ok($third, '>', $second, 'expired, the next in line has it');
until_it('four', "wait_event_type = 'Extension'");

# A holder that is gone in the middle of a guarded write keeps the lease beyond
# its end only until the server has noticed.
$sessions{three}->ask('BEGIN;');
$sessions{three}->ask("SELECT lease_guard('job', $third);");
$sessions{three}->ask("SELECT lease_renew('job', $third, '1 ms');");
until_it('four', "wait_event_type = 'Extension'");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($sessions{three}{pid})");
# the renewal is lost with the transaction: for an hour it would go on
$node->safe_psql('postgres',
	"SELECT lease_renew('job', $third, '1 ms')");
my $fourth = $sessions{four}->answer + 0;
cmp_ok($fourth, '>', $third, 'rolled back, then expired: the next has it');

$node->safe_psql('postgres', "SELECT lease_renew('job', $fourth, '1 us')");
$sessions{four}->ask('BEGIN;');
$sessions{four}->ask("SELECT lease_guard('job', $fourth);");
in_line('two', 'transactionid', q{'1h', '1h'});
is( $node->safe_psql('postgres',
		"SELECT pg_blocking_pids($sessions{two}{pid})"),
	"{$sessions{four}{pid}}", 'it waits for the guarded transaction');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($sessions{four}{pid})");
my $fifth = $sessions{two}->answer + 0;
cmp_ok($fifth, '>', $fourth, 'whose end lets it in');

# A wait that is over says who has it; lock_timeout is an error of its own;
# either leaves the line, and a cancelled one does.
like($sessions{one}->ask(q{SELECT lease_acquire('job', 'one', '1h', '20 ms');}),
	qr/ERROR:  PT423: .*\n.*"holder": "two"/, 'the wait is over');
like( $sessions{one}->ask(q{SET lock_timeout = '20 ms';
		SELECT lease_acquire('job', 'one', '1h', '1h'); RESET lock_timeout;}),
	qr/ERROR:  55P03/, 'lock_timeout');
in_line('one', 'sleeps', q{'1h', NULL});
$node->safe_psql('postgres', "SELECT pg_cancel_backend($sessions{one}{pid})");
like($sessions{one}->answer, qr/ERROR:  57014/, 'cancelled');
is($node->safe_psql('postgres', q{
		SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}),
	'0', 'nobody is left in line');

# The same name waits for itself if it is not to re-enter.
in_line('one', 'sleeps', q{'1h', NULL, false});
$sessions{two}->ask("SELECT lease_release('job', $fifth);");
cmp_ok($sessions{one}->answer, '>', $fifth, 'reenter => false');

$_->stop foreach @sessions{qw(one two)};
$node->stop;
done_testing();
