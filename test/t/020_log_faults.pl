# Claim: scripts/log-faults finds what no test may cause in a server's log, and
# nothing else, and test/log_allowed excepts what it names and no more.
use strict;
use warnings;

use IPC::Run qw(run);
use PostgreSQL::Test::Utils;
use Test::More;

my $log = "$PostgreSQL::Test::Utils::tmp_check/made.log";

# The status and the output for a log of these lines.
sub faults
{
	my ($test, $offset, @lines) = @_;
	my $out = '';

	open my $fh, '>', $log or die "$log: $!";
	print $fh "$_\n" foreach @lines;
	close $fh;
	run [ 'scripts/log-faults', $test, $log, $offset ], '>', \$out;
	return ($? >> 8, $out);
}

my $time = '2026-01-01 00:00:00.000 UTC [7]';
my @harmless = (
	"$time LOG:  database system is ready",
	"$time pg_regress/cas_swap 22012 ERROR:  division by zero",
	"$time pg_regress/cas_swap XX000 STATEMENT:  SELECT 1/0",
	"$time LOG:  server process (PID 8) exited with exit code 1");

is_deeply([ faults('t', 0, @harmless) ], [ 0, '' ], 'nothing is found');

foreach my $fault (
	"$time LOG:  server process (PID 8) was terminated by signal 11: Segmentation fault",
	"TRAP: FailedAssertion(\"x\", File: \"y.c\", Line: 1, PID: 8)",
	"$time t XX000 PANIC:  stuck",
	"$time pg_regress/cas_swap XX000 ERROR:  cache lookup failed",
	"$time isolation/cas-lock/s1 XX001 ERROR:  bad block",
	"==8==ERROR: AddressSanitizer: heap-use-after-free",
	"a.c:1:2: runtime error: signed integer overflow")
{
	my ($status, $out) = faults('t', 0, @harmless, $fault);

	is($status, 1, "found: $fault");
	like($out, qr/^\Q$fault\E$/m, '... and shown');
	($status) = faults('t', length(join '', map { "$_\n" } @harmless, $fault),
		@harmless, $fault, @harmless);
	is($status, 0, '... but not before the place to begin');
}

# The one exception that is there for good.
my $killed = "$time LOG:  server process (PID 8) was terminated by signal 9: Killed";
is((faults('200_alloc_load', 0, $killed))[0], 0, 'an exception');
is((faults('201_other', 0, $killed))[0], 1, '... for one test');
is((faults('200_alloc_load', 0, $killed =~ s/9: .*/6: Aborted/r))[0], 1,
	'... and one thing');

done_testing();
