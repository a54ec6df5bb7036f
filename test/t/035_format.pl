# Claim: the C code is laid out as scripts/format wants it, and that tells
# each way in which a file can be laid out badly.
use strict;
use warnings;

use File::Basename;
use IPC::Run qw(run);
use PostgreSQL::Test::Utils;
use Test::More;

my $root = dirname(__FILE__) . '/../..';

# The status and the output for these arguments.
sub format_says
{
	my $out = '';

	run [ "$root/scripts/format", @_ ], '>', \$out, '2>&1';
	return ($? >> 8, $out);
}

my ($status, $out) = format_says();
plan skip_all => 'clang-format is not installed' if $status == 77;
is($out, '', 'nothing differs');
is($status, 0, 'which is success');

#
# What would be told: a file that is well laid out, and changes to it.
#
my $good = <<'END';
typedef enum Way
{
	UP = 1,
	DOWN
} Way;

static const char *const words[] = {
	[UP] = "up",
	[DOWN] = "down"
};

/* What that is called. */
static const char *
word(Way way, bool given)
{
	int			n = 2;		/* of them */
	Point		point = {.x = 0, .y = 1};

	if (given && way >= UP &&
		way <= DOWN)
	{
		point.x = n + (int) way;
		return text(words[way], point.y > 0 ?
					"" : "-", &point);
	}
	switch (way)
	{
		case UP:
			{
				n++;
				break;
			}
		case DOWN:
			break;
	}
	for (int i = 0; i < n; i++)
		count(i);
	return NULL;
}
END
my $file = "$PostgreSQL::Test::Utils::tmp_check/made.c";

sub write_file
{
	my ($text) = @_;

	open my $fh, '>', $file or die "$file: $!";
	print $fh $text;
	close $fh;
	return;
}

# It is told that this change of the file is none for the better, and where,
# and --write takes it back if it can.
sub told
{
	my ($name, $old, $new, $stays) = @_;
	my $place = index $good, $old;
	my $line = 1 + (substr($good, 0, $place) =~ tr/\n//);
	my $bad = $good;

	die "no $old" if $place < 0;
	substr($bad, $place, length $old) = $new;
	write_file($bad);
	my ($status, $out) = format_says($file);
	my @lines = map { 0 + $_ } $out =~ /^\Q$file\E:(\d+)/mg;
	ok($status == 1 && grep({ abs($_ - $line) <= 2 } @lines), "$name is told")
	  or diag "status $status, expected line $line: $out";
	return if $stays;
	format_says('--write', $file);
	ok(slurp_file($file) eq $good, "$name: --write mends it")
	  or diag slurp_file($file);
	return;
}

write_file($good);
is_deeply([ format_says($file) ], [ 0, '' ], 'nothing is told of what is right');

told('a statement too far to the right', "\tfor (int", "\t\tfor (int");
told('a statement too far to the left', "\t\tcount", "\tcount");
told('a brace too far to the right', "\t{\n\t\tpoint", "\t\t{\n\t\tpoint");
told('a brace that ends a line', "way <= DOWN)\n\t{", 'way <= DOWN) {', 1);
told('a brace that something follows', "}\n\tswitch", '} switch', 1);
told('a case too far to the left', "\t\tcase DOWN", "\tcase DOWN");
told('an enumerator too far to the right', "\tDOWN", "\t\tDOWN");
told('no blank before a parenthesis', 'if (', 'if(');
told('a blank before a parenthesis', 'count(', 'count (');
told('no blank around an operator', 'i < n', 'i<n');
told('no blank after a cast', '(int) way', '(int)way', 1);
told('a star at the type', 'const char *const', 'const char* const', 1);
told('a body on the line of its condition', "n; i++)\n\t\tcount", 'n; i++) count');
told('two statements on a line', "n++;\n\t\t\t\tbreak;", 'n++; break;');
told('a type on the line of its function', "const char *\nword", 'const char *word', 1);
told('a line that is not below the parenthesis', "\t\t\t\t\t\"\"", "\t\t\t\t\"\"");
told('a line that does not go on further right', "\t[UP]", "[UP]", 1);
told('an operator that begins a line', "UP &&\n\t\tway", "UP\n\t\t&& way", 1);
told('a long line', "n++;", 'n = ' . join(' + ', ('number') x 9) . ';', 1);
told('blanks for a tab', "\treturn NULL", "    return NULL", 1);
told('a blank at the end', 'break;', 'break; ', 1);
told('three empty lines', "/* What", "\n\n/* What", 1);

# The limits of length: the function of $good has 27 lines.
my ($function) = $good =~ /^(static const char \*\nword.*?^\}\n)/ms;
my $long = $function =~ s/^\treturn NULL/"\tn++;\n" x 73 . $&/mer;
write_file($good =~ s/\Q$function\E/$long/r);
is_deeply([ format_says($file) ], [ 0, '' ], 'a function of 100 lines is not told');
told('a function of 101 lines', $function, $long =~ s/\tn\+\+;\n/$&$&/r, 1);
write_file("#include \"a.h\"\n" x 600);
is_deeply([ format_says($file) ], [ 0, '' ], 'nor is a file of 600 lines');
write_file("#include \"a.h\"\n" x 601);
like((format_says($file))[1], qr/^\Q$file\E:1: a file of 601 lines$/m, 'one of 601 is told');

# What pgindent makes of it is not for clang-format to say.
foreach my $same (
	[ 'tab stops', "n = 2;\t\t/*", 'n = 2; /*' ],
	[ 'blanks in braces', '{.x = 0, .y = 1}', '{ .x = 0,.y = 1 }' ],
	[ 'where an expression is broken', "> 0 ?\n\t\t\t\t\t\"\" :", "> 0 ? \"\" :\n\t\t\t\t\t" ])
{
	my ($name, $old, $new) = @$same;

	die "no $old" if index($good, $old) < 0;
	write_file($good =~ s/\Q$old\E/$new/r =~ s/\t +"-"/\t"-"/r);
	is_deeply([ format_says($file) ], [ 0, '' ], "$name: nothing is told");
}

done_testing();
