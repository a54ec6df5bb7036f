#!/usr/bin/perl
# canceller.pl DATADIR SEED: sends SIGINT, as pg_cancel_backend() does, to
# random client backends of a server, every 0 to 6 ms until it is killed, and
# prints a line for each.
use strict;
use warnings;

use Time::HiRes qw(sleep time);

my ($data, $seed) = @ARGV;
my $postmaster = do
{
	open my $fh, '<', "$data/postmaster.pid" or die "$data: $!";
	<$fh>;
};
my @backends;

# The server's children whose title says that they serve a local client.
sub find_backends
{
	my @found;

	opendir my $proc, '/proc' or die "/proc: $!";
	foreach my $pid (grep { /^\d+$/ } readdir $proc)
	{
		open my $stat, '<', "/proc/$pid/stat" or next;
		my ($parent) = (<$stat> // '') =~ /^\d+ \(.*\) \S (\d+) /;
		next if ($parent // 0) != $postmaster;
		open my $title, '<', "/proc/$pid/cmdline" or next;
		push @found, $pid if (<$title> // '') =~ /\[local\]/;
	}
	return @found;
}

srand $seed;
$| = 1;
for (my $i = 0;; $i++)
{
	@backends = find_backends() if $i % 5 == 0 || !@backends;
	sleep rand 0.006;
	next if !@backends;
	my $pid = $backends[ rand @backends ];
	print "$pid\n" if kill 'INT', $pid;
}
