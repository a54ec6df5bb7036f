# Claim: bench/run --quick and bench/growth --quick play to their ends and make tables
# with figures in each line, one for each comparison of the parts, and one for each
# size of each case; and they end all that they have started, also if they fail.
#
# Transactions are counted, not seconds, and no figure is judged.  Parts alloc,
# which fills large pools first, and dhcp, which downloads packages, are only
# played with PG_CAS_LONG=1.
use strict;
use warnings;

use File::Temp;
use IPC::Run qw(run timeout);
use PgCas;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'bench is not part of this archive' unless -d 'bench';

# It makes a stage of its own, in a folder of this test with a short path, from
# the PostgreSQL and the objects that this test runs on.
my $folder = File::Temp->newdir('/tmp/pg_cas_bench.XXXXXX');
local $ENV{PG_CONFIG} = `sh -c 'command -v pg_config'`;
chomp $ENV{PG_CONFIG};
local $ENV{PG_CAS_KEEP_OBJECTS} = 1;
local $ENV{TMPDIR} = $folder;
delete $ENV{TEMP_CONFIG};

my $results = "$PostgreSQL::Test::Utils::tmp_check/bench";
my @parts = (qw(cas txn lock request), long_or([], [ 'alloc', 'dhcp' ])->@*);

sub bench
{
	my ($command, @arguments) = @_;
	my ($out, $err) = ('', '');
	my $ok = run [ "bench/$command", '--quick', '--transactions', 5, '--out', $results,
		@arguments ],
	  '<', \'', '>', \$out, '2>', \$err,
	  timeout($PostgreSQL::Test::Utils::timeout_default * 2);

	return ($ok, $out, $err);
}

# The processes of the stage, by their command lines, and its files.
sub remains
{
	my @commands;

	foreach my $file (glob '/proc/[0-9]*/cmdline')
	{
		open my $fh, '<', $file or next;
		push @commands, <$fh> // '';
	}
	return (grep({ /\Q$folder\E/ } @commands), glob "$folder/*");
}

my ($ok, $out, $err) = bench('run', '--parts', "@parts");
ok($ok, 'it ends well') or diag("$err\n", substr $out, -2000);
is($err, '', 'without a word on standard error');

my ($head, @lines) = map { [ split / {2,}/, s/\s+$//r ] }
  split /\n/, $out =~ s/^.*?^(?=work  )//msr =~ s/\n\n.*//sr;
is("@$head", 'work against clients commit ours/s theirs/s ratio spread target met',
	'the table has its columns');

# The comparisons of these parts that are made with 8 clients.
my $parts = join '|', @parts;
my %expected = map { $_ => 1 }
  map { "$_->[1]: $_->[3]" }
  grep { $_->[0] =~ /^(?:$parts)$/ && " $_->[5] " =~ / (?:1 .*|8) / }
  map { [ split /\s*\|\s*/ ] }
  grep { /^[^#]/ } split /\n/, slurp_file('bench/comparisons');
my %seen = map { ("$_->[0]: $_->[1]" => 1) } @lines;
is_deeply(\%seen, \%expected, 'each comparison is in it');

my $figure = qr/\d{1,3}(?:,\d{3})*(?:\.\d\d)?/;
my @without = grep {
	join('|', @$_[ 4 .. 7 ]) !~ /^$figure\|$figure\|\d+\.\d\d\|\d+\.\d\d-\d+\.\d\d$/
	  || $_->[4] !~ /[1-9]/ || $_->[5] !~ /[1-9]/
} @lines;
is(join("\n", map { "@$_" } @without), '', 'and each has its figures');

foreach my $file (qw(table.md ratios.md results.csv latencies.md machine.txt))
{
	cmp_ok(-s "$results/$file" // 0, '>', 0, "$file is written");
}
is( scalar(grep { /^(?:cas|lock|request)\/\w+,8,off(?:,[1-9]\d*){3}$/ } split /\n/,
		slurp_file("$results/latencies.csv")),
	7, 'with percentiles of the latency of the scripts of swaps, locks and requests');
is(join("\n", remains()), '', 'nothing is left running, nor the stage');

($ok, $out, $err) = bench('run', '--parts', 'nonsense');
ok(!$ok, 'a part that there is not is an error');
like($err, qr/no part nonsense/, 'which says so');
is(join("\n", remains()), '', 'nothing is left running after it');

# Growth: a line for each case and size, with its times.
my @cases = long_or([qw(connections names requests rows usage)], [])->@*;
($ok, $out, $err) = bench('growth', @cases);
ok($ok, 'growth ends well') or diag("$err\n", substr $out, -2000);
is($err, '', 'without a word on standard error');
@cases = map { s/\.sql$//r } grep { !/_peer|setup/ } map { s|.*/||r } glob 'bench/growth.d/*.sql'
  unless @cases;
my %lines;
foreach my $line (split /\n/, slurp_file("$results/growth.md"))
{
	my (undef, $work, undef, $size, @figures) = split /\s*\|\s*/, $line;

	$lines{"$work: $size"} = 1 if "@figures" =~ /^\d+\.\d+ \d+\.\d+/;
}
%expected = ();
foreach my $case (@cases)
{
	my $text = slurp_file("bench/growth.d/$case.sql");
	my ($work) = $text =~ /^-- work: (.*)/m;
	my ($sizes) = $text =~ /^-- quick: (.*)/m;

	$expected{"$work: " . ($_ =~ s/(?<=\d)(?=(?:\d{3})+$)/,/gr)} = 1 foreach split ' ', $sizes;
}
is_deeply(\%lines, \%expected, 'each case has its lines');
is(join("\n", remains()), '', 'nothing is left running after that either');

done_testing();
