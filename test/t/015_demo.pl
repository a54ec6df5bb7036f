# Claim: scripts/demo plays to its end, and shows what test/demo.out says: the
# answers that its lines for the reader promise.
#
# To see what has changed:  PG_CAS_ACCEPT=FILE scripts/test 015_demo  writes
# what it shows to FILE.
use strict;
use warnings;

use IPC::Run qw(run timeout);
use PostgreSQL::Test::Utils;
use Test::More;

# The demo makes a stage of its own, from the PostgreSQL and the objects that
# this test runs on.
local $ENV{PG_CONFIG} = `sh -c 'command -v pg_config'`;
chomp $ENV{PG_CONFIG};
local $ENV{PG_CAS_KEEP_OBJECTS} = 1;
local $ENV{TMPDIR} = '/tmp';
delete $ENV{TEMP_CONFIG};

my ($out, $err) = ('', '');
my $ok = run [ 'scripts/demo' ], '<', \'', '>', \$out, '2>', \$err,
  timeout($PostgreSQL::Test::Utils::timeout_default * 2);

# Times and random UUIDs differ.
sub plain
{
	my ($text) = @_;

	$text =~ s/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:[+-]\d\d(?::?\d\d)?|Z)?/TIME/g;
	$text =~ s/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/UUID/g;
	return $text;
}

# The scenes, by their titles; what is before the first is about the build.
sub scenes
{
	my ($text) = @_;
	my (undef, @parts) = split /^== (.*) ==\n/m, $text;

	return @parts;
}

ok($ok, 'it ends well') or diag("$err\n", substr($out, -2000));
is($err, '', 'without a word on standard error');
if ($ENV{PG_CAS_ACCEPT})
{
	open my $fh, '>', $ENV{PG_CAS_ACCEPT} or die "$ENV{PG_CAS_ACCEPT}: $!";
	print $fh plain($out =~ s/^building pg_cas\n//r);
	close $fh;
}
my @expected = scenes(slurp_file('test/demo.out'));
my @seen = scenes(plain($out));
is(@seen / 2, @expected / 2, 'all scenes are played');
while (my ($title, $text) = splice @expected, 0, 2)
{
	my ($seen_title, $seen_text) = splice @seen, 0, 2;

	is($seen_title, $title, "the next scene is: $title");
	is($seen_text, $text, "$title: what is shown");
}

done_testing();
