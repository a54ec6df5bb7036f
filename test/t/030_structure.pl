# Claim: the code keeps to the boundaries that docs/architecture.md draws.
#
# - base/ knows PostgreSQL and the settings only; request/ knows base/; cas/,
#   alloc/ and lock/ know base/ and what base/entry.h declares of request/, not
#   each other.
#   Settings (data of src/*.c) are read by all; src/*.c may call all of them.
# - No header includes itself by way of others.
# - In a subsystem calls run down only, in the order in which its README.md
#   lists the files, and PG_FUNCTION_INFO_V1 stands only in those that the
#   README marks.
# - In a subsystem no two static functions have the same name.
# - docs/architecture.svg is what docs/architecture.py draws.
#
# A README lists its files as items or rows that begin with their names, from
# top to bottom; "SQL" in the item, or anything in a table's column "SQL", marks
# a file with SQL entry points:
#
#   - `functions.c` (SQL): what SQL calls        | file | what it is for | SQL |
#   - `a.c`, `b.c`: ...                          |---|---|---|
#                                                | `functions.c` | ... | yes |
#
# A folder without a README is not checked.  Calls are found in the objects,
# which "make" has left in src/.
use strict;
use warnings;

use File::Basename;
use Test::More;

my $root = dirname(__FILE__) . '/../..';
chdir $root or die "$root: $!";

my @sources = glob 'src/*.c src/*/*.c';
my @objects = grep { -e } map { s/\.c$/.o/r } @sources;
plan skip_all => 'the objects are not here: run make' if @objects < @sources;

# Fail with what is in the list, if anything is.
sub nothing
{
	my ($name, @wrong) = @_;
	is(join("\n", sort @wrong), '', $name);
}

sub slurp
{
	my ($file) = @_;
	local $/;
	open my $fh, '<', $file or die "$file: $!";
	return <$fh>;
}

# The subsystem (room) of a file: a folder in src, or '' for src itself.
sub room { return $_[0] =~ m{^src/(\w+)/} ? $1 : ''; }

my %checked = map { room($_) => 1 } glob 'src/*/README.md';
note 'checked: ' . join ', ', sort keys %checked;

# The subsystems that each may use besides itself.
my %below = (base => {}, request => { base => 1 },
	map { $_ => { base => 1 } } qw(cas alloc lock));

#
# Includes
#
my %includes;
foreach my $file (@sources, glob 'src/*.h src/*/*.h')
{
	foreach my $name (slurp($file) =~ /^#include "([^"]+)"/mg)
	{
		my ($found) = grep { -e } dirname($file) . "/$name", "src/$name";
		push @{ $includes{$file} }, $found if $found;
	}
}

my @wrong;
foreach my $file (keys %includes)
{
	my $from = room($file);

	next if $from eq '' || !$checked{$from};
	foreach my $header (@{ $includes{$file} })
	{
		my $to = room($header);

		push @wrong, "$file includes $header"
		  if $to ne $from && $to ne '' && !$below{$from}{$to};
		push @wrong, "$file includes $header"
		  if $from eq 'base' && $to eq '' && $header !~ m{^src/(?:compat|settings)\.h$};
	}
}
nothing('a subsystem includes only what is below it', @wrong);

# A depth-first walk: on the way down 1, done 2.
my %state;
@wrong = ();
sub walk
{
	my ($file, @way) = @_;

	if (($state{$file} // 0) == 1)
	{
		shift @way while @way && $way[0] ne $file;
		push @wrong, join ' -> ', @way, $file;
	}
	return if $state{$file};
	$state{$file} = 1;
	walk($_, @way, $file) foreach @{ $includes{$file} // [] };
	$state{$file} = 2;
	return;
}
walk($_) foreach sort keys %includes;
nothing('no header includes itself by way of others', @wrong);

#
# Symbols
#
my (%defined_in, %is_data, %uses);
foreach my $object (@objects)
{
	my $source = $object =~ s/\.o$/.c/r;

	foreach (split /\n/, `nm '$object'`)
	{
		my ($kind, $symbol) = /^[0-9a-f]*\s+(\w) (\S+)$/ or next;

		if ($kind eq 'U') { $uses{$source}{$symbol} = 1; }
		elsif ($kind =~ /[TBDRC]/)
		{
			$defined_in{$symbol} = $source;
			$is_data{$symbol} = 1 if $kind ne 'T';
		}
	}
}
cmp_ok(scalar keys %defined_in, '>', 50, 'symbols are found');

my %entry = map { $_ => 1 }
  slurp('src/base/entry.h') =~ /^extern [^;]*?(\w+)(?:\([^;]*)?;/mg;

# Every use of another file's symbol: from, to, symbol.
my @calls;
foreach my $from (sort keys %uses)
{
	foreach my $symbol (sort keys %{ $uses{$from} })
	{
		my $to = $defined_in{$symbol};

		push @calls, [ $from, $to, $symbol ] if defined $to && $to ne $from;
	}
}

@wrong = ();
foreach my $call (@calls)
{
	my ($from, $to, $symbol) = @$call;
	my ($caller, $callee) = (room($from), room($to));

	next if $caller eq $callee || $caller eq '' || !$checked{$caller};
	next if $below{$caller}{$callee};
	next if $callee eq '' && $is_data{$symbol};
	next if $callee eq 'request' && $entry{$symbol};
	push @wrong, "$from uses $symbol of $to";
}
nothing('a subsystem uses only what is below it', @wrong);

#
# Inside each subsystem
#
foreach my $room (sort keys %checked)
{
	my ($place, $column, $current) = (0);
	my (%place, %entry_points);

	foreach my $line (split /\n/, slurp("src/$room/README.md"))
	{
		my @cells = map { s/^\s+|\s+$//gr } split /\|/, $line =~ s/^\|//r;

		if ($line !~ /^\|/) { $column = undef; }
		elsif ($line !~ /`/ && grep { /SQL/ } @cells)
		{
			($column) = grep { $cells[$_] =~ /SQL/ } 0 .. $#cells;
		}
		if ($line =~ /^\s*(?:[-*]|\d+\.|\|)\s+((?:`\w+\.c`(?:,| and)?\s*)+)/)
		{
			$current = [ $1 =~ /`(\w+\.c)`/g ];
			$place{"src/$room/$_"} //= ++$place foreach @$current;
		}
		elsif ($line !~ /^\s+\S/) { $current = undef; }
		if ($current && (defined $column ? $cells[$column] // '' : $line =~ /\bSQL\b/))
		{
			$entry_points{"src/$room/$_"} = 1 foreach @$current;
		}
	}

	my @files = grep { room($_) eq $room } @sources;
	is_deeply([ sort keys %place ], [ sort @files ],
		"$room/README.md lists the files that there are");
	nothing("$room: calls run down only",
		map { "$_->[0] calls up: $_->[2] of $_->[1]" }
		grep {
			room($_->[0]) eq $room && room($_->[1]) eq $room
			  && !$is_data{ $_->[2] }
			  && ($place{ $_->[0] } // 0) > ($place{ $_->[1] } // 0)
		} @calls);
	nothing("$room: entry points are where the README says",
		map { "$_ has PG_FUNCTION_INFO_V1" }
		grep { !$entry_points{$_} && slurp($_) =~ /^PG_FUNCTION_INFO_V1/m } @files);

	# A function's name begins a line, below "static" and its type.
	my %static;
	foreach my $file (@files)
	{
		push @{ $static{$_} }, $file
		  foreach slurp($file) =~ /^(?:pg_noreturn )?static\b[^;={}()]*\n(\w+)\(/mg;
	}
	nothing("$room: static functions have names of their own",
		map { "$_ is in " . join ' and ', @{ $static{$_} } }
		grep { @{ $static{$_} } > 1 } keys %static);
	cmp_ok(scalar keys %static, '>', 10, "$room: static functions are found");
}

#
# The drawing
#
SKIP:
{
	skip 'python3 is not installed: docs/architecture.svg is not compared', 1
	  if system('python3 -c "" 2>/dev/null') != 0;
	ok(`python3 docs/architecture.py` eq slurp('docs/architecture.svg'),
		'docs/architecture.svg is what docs/architecture.py draws')
	  or diag 'run: python3 docs/architecture.py > docs/architecture.svg';
}

done_testing();
