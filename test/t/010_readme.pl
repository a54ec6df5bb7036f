# Claim: what the README and docs/*.md show is what happens.  The SQL of each
# page is run, block by block from top to bottom in one database; where a block
# is followed by a block of output, that is what psql says, to the letter, and
# where it is not, there is no error.
use strict;
use warnings;

use File::Basename;
use IPC::Run qw(run);
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = dirname(__FILE__) . '/../..';
my $node = pg_cas_node('main');

# What a page takes for granted.  (The README begins with CREATE EXTENSION.)
my %fixture = (
	'README.md' => '',
	'docs/locks.md' => 'CREATE TABLE package (repo text, name text);',
	'docs/operations.md' => 'CREATE ROLE buyer;',
	'docs/requests.md' => <<'SQL');
CREATE TABLE orders (id int PRIMARY KEY, item int);
CREATE TABLE invoices (id int PRIMARY KEY);
CREATE ROLE app;
CREATE DATABASE shop;
SQL

# psql's output for a text, errors and all.
sub psql
{
	my ($database, $sql) = @_;
	my $out = '';

	run [ 'psql', '-X', '-d', $node->connstr($database) ],
	  '<', \$sql, '>&', \$out;
	return $out;
}

# The fenced blocks of a page, each with the line that it begins at.
sub blocks
{
	my ($text) = @_;
	my @blocks;

	while ($text =~ /^```(\w*)\n(.*?)^```\n/msg)
	{
		push @blocks, {
			language => $1,
			text => $2,
			line => 1 + substr($text, 0, $-[0]) =~ tr/\n// };
	}
	return @blocks;
}

# Run a page's SQL; the number of blocks that were followed by their output.
sub run_page
{
	my ($page) = @_;
	my @blocks = blocks(slurp_file("$root/$page"));
	my $database = $page =~ s/\W/_/gr;
	my $examples = 0;

	return 0 unless grep { $_->{language} eq 'sql' } @blocks;
	psql('postgres', "CREATE DATABASE \"$database\"");
	psql($database, ($page eq 'README.md' ? '' : 'CREATE EXTENSION pg_cas;')
		  . ($fixture{$page} // ''));
	for my $i (0 .. $#blocks)
	{
		my ($block, $next) = @blocks[ $i, $i + 1 ];
		my $name = "$page, line $block->{line}";

		next if $block->{language} ne 'sql';
		my $out = psql($database, $block->{text});

		# output follows at once
		if ($next && $next->{language} eq ''
			&& $next->{line} == $block->{line} + 2 + ($block->{text} =~ tr/\n//))
		{
			# psql ends a table with an empty line
			is($out =~ s/\n+\z/\n/r, $next->{text}, $name);
			$examples++;
		}
		else
		{
			unlike($out, qr/^(?:psql:.*|)(?:ERROR|FATAL|WARNING):/m, $name)
			  or diag($out);
		}
	}
	return $examples;
}

cmp_ok(run_page('README.md'), '>=', 5, 'the README has examples with their output');
foreach my $page (sort map { s|^\Q$root/\E||r } glob "$root/docs/*.md")
{
	run_page($page);
}

$node->stop;
done_testing();
