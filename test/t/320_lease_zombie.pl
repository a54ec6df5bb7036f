# A holder that is stopped beyond the end of its lease and then goes on writes
# nothing, whether it was stopped before it began its write or in the middle.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run;

my $node = pg_cas_node('zombie', 'fsync = off');
my @psql = ('psql', '-XqAt', '-d', $node->connstr('postgres'));

$node->safe_psql('postgres', 'CREATE TABLE written (who text, fence bigint)');

# A worker that is told on its standard input what to do.
sub worker
{
	my ($in, $out, $err) = ('', '', '');
	my $timeout = IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	my $h = IPC::Run::start([@psql], '<', \$in, '>', \$out, '2>', \$err,
		$timeout);

	return { h => $h, timeout => $timeout, in => \$in, out => \$out, err => \$err };
}

sub say_to
{
	my ($worker, $text, $until) = @_;

	${ $worker->{in} } .= $text;
	$worker->{timeout}->start;
	$worker->{h}->pump
	  until (${ $worker->{out} } . ${ $worker->{err} }) =~ $until;
}

# 1. The process that works for the lease is stopped between acquiring it and
# writing.
my $one = worker();
say_to($one, qq{SELECT lease_acquire('job', 'one', '200ms') AS fence \\gset
\\echo acquired\n}, qr/acquired/);
$one->{h}->signal('STOP');
$node->poll_query_until('postgres',
	q{SELECT expired FROM lease_holders WHERE name = 'job'})
  or die 'does not expire';
my $fence = $node->safe_psql('postgres', q{SELECT lease_acquire('job', 'two', '1h')});
$node->safe_psql('postgres',
	"BEGIN; SELECT lease_guard('job', $fence); INSERT INTO written VALUES ('two', $fence); COMMIT");
$one->{h}->signal('CONT');
say_to($one, q{\set VERBOSITY verbose
BEGIN;
SELECT lease_guard('job', :fence);
INSERT INTO written VALUES ('one', :fence);
COMMIT;
\echo done
}, qr/done/);
like(${ $one->{err} }, qr/ERROR:  PT412/, 'the zombie is fenced out');
is($node->safe_psql('postgres', 'SELECT who FROM written'), 'two',
	'the zombie has written nothing');

# 2. Stopped in the middle of a guarded write, its server process: the takeover
# waits for it, and what was written is written before.
$node->safe_psql('postgres',
	qq{SELECT lease_renew('job', $fence, '1 microsecond')});
say_to($one, qq{SELECT lease_acquire('job', 'one', '1 microsecond') AS fence \\gset
BEGIN;
SELECT lease_guard('job', :fence);
INSERT INTO written VALUES ('one again', :fence);
SELECT 'backend ' || pg_backend_pid();\n}, qr/backend (\d+)/);
my ($backend) = ${ $one->{out} } =~ /backend (\d+)/;
kill 'STOP', $backend;
my $two = worker();
say_to($two, qq{\\echo asking\n}, qr/asking/);
${ $two->{in} } .= qq{SELECT lease_acquire('job', 'two', '1h', NULL) AS fence \\gset
INSERT INTO written VALUES ('two again', :fence);
\\echo taken\n};
$two->{h}->pump_nb;
$node->poll_query_until('postgres', q{
	SELECT EXISTS (SELECT FROM pg_stat_activity
				   WHERE wait_event_type = 'Lock' AND query LIKE '%lease_acquire%')})
  or die 'does not wait';
unlike(${ $two->{out} }, qr/taken/, 'the takeover waits');
kill 'CONT', $backend;
say_to($one, "COMMIT;\n\\echo committed\n", qr/committed/);
say_to($two, '', qr/taken/);
is( $node->safe_psql('postgres', q{
		SELECT string_agg(who, ', ' ORDER BY fence) FROM written WHERE who LIKE '%again'}),
	'one again, two again', 'what was guarded is written before the takeover');

foreach my $worker ($one, $two)
{
	${ $worker->{in} } .= "\\q\n";
	$worker->{h}->finish;
}
$node->stop;
done_testing();
