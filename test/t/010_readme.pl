# Claim: what the README shows is what happens.  Its SQL is run, block by
# block from top to bottom in one database; where a block is followed by a
# block of output, that is what psql says, to the letter, and where it is not,
# there is no error.
use strict;
use warnings;

use File::Basename;
use IPC::Run qw(run);
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = dirname(__FILE__) . '/../../README.md';
my $node = pg_cas_node('main');

# The README begins with CREATE EXTENSION.
$node->safe_psql('postgres', 'CREATE DATABASE readme');

my @blocks;
my $text = slurp_file($readme);
while ($text =~ /^```(\w*)\n(.*?)^```\n/msg)
{
	push @blocks, { language => $1, text => $2, line => 1 + substr($text, 0, $-[0]) =~ tr/\n// };
}

my $examples = 0;
for my $i (0 .. $#blocks)
{
	my $block = $blocks[$i];
	my $next = $blocks[$i + 1];
	my ($out, $name) = ('', "README.md, line $block->{line}");

	next if $block->{language} ne 'sql';
	run [ 'psql', '-X', '-d', $node->connstr('readme') ],
	  '<', \$block->{text}, '>&', \$out;

	# output follows at once
	if ($next && $next->{language} eq ''
		&& $next->{line} == $block->{line} + 2 + ($block->{text} =~ tr/\n//))
	{
		# psql ends a table with an empty line
		$out =~ s/\n+\z/\n/;
		is($out, $next->{text}, $name);
		$examples++;
	}
	else
	{
		unlike($out, qr/^(ERROR|FATAL|WARNING)/m, $name);
	}
}
cmp_ok($examples, '>=', 5, 'the README has examples with their output');

$node->stop;
done_testing();
