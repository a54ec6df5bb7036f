# Claim: the reference (README.md and docs/*.md) and the code say the same:
#
# - each function, view and type of the extension's own schema is described,
#   and what is described is there, with the arguments named there;
# - so is each argument of cas_enable(), each setting with its default and who
#   may set it, each kind of pool, and each SQLSTATE of our own;
# - each function, argument, setting, kind and view in a table has been added in
#   a version that there is;
# - the README names the versions of PostgreSQL that scripts/majors.sh has;
# - links in the pages lead to files and headings that exist.
#
# A failure names what the reference lacks, or the page and row that is wrong.
use strict;
use warnings;

use File::Basename;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = dirname(__FILE__) . '/../..';
my $node = pg_cas_node('main');

# No difference between the code and a page; what is in the list is shown.
sub nothing
{
	my ($name, @wrong) = @_;
	is(join("\n", sort @wrong), '', $name);
}

# The result of a query, a list of its rows.
sub rows
{
	return map { [ split /\|/, $_, -1 ] }
	  split /\n/, $node->safe_psql('postgres', $_[0]);
}

my %page = map { s|^\Q$root/\E||r => slurp_file($_) } "$root/README.md",
  grep { !/benchmarks|testing|architecture/ } glob "$root/docs/*.md";

# The rows of all tables whose first cells have code in them: page, heading of
# the first column, and cells.
my @table_rows;
foreach my $page (sort keys %page)
{
	my $heading;
	my $number = 0;

	foreach my $line (split /\n/, $page{$page})
	{
		$number++;
		if ($line !~ /^\|/) { $heading = undef; next; }
		my @cells = map { s/^\s+|\s+$//gr } split /(?<!\\)\|/, $line =~ s/^\||\|\s*$//gr, -1;
		if (!defined $heading) { $heading = $cells[0]; next; }
		next if $cells[0] =~ /^-+$/;
		push @table_rows,
		  { at => "$page, line $number", heading => $heading, cells => \@cells };
	}
}
sub table { my ($heading) = @_; return grep { $_->{heading} =~ $heading } @table_rows; }

# All code in the pages, by page.
my %code;
foreach my $page (keys %page)
{
	$code{$page} = [ $page{$page} =~ /^```.*?^```|`([^`\n]+)`/msg ];
	push @{ $code{$page} }, $page{$page} =~ /^```\w*\n(.*?)^```/msg;
	@{ $code{$page} } = grep { defined } @{ $code{$page} };
}
my $all_code = join "\n", map { @{ $code{$_} } } sort keys %code;

# The names in a line; "cas_try_create, _update" stands for two, with "…" or
# without.
sub names
{
	my ($line) = @_;
	my $last = '';
	my @names;

	while ($line =~ /`(?:…)?((?:[a-z]+)?_[a-z_0-9]+)[^`]*`/g)
	{
		my $name = $1;
		if ($name !~ /^_/) { push @names, $last = $name; }
		elsif ($last =~ /^([a-z_]+)_[a-z0-9]+$/) { push @names, "$1$name"; }
	}
	return @names;
}
my %named = map { $_ => 1 } $all_code =~ /\b([a-z_][a-z_0-9]{2,})\b/g,
  map { names($_) } map { split /\n/ } values %page;

#
# Functions, views and types
#
my $members = <<'SQL';
SELECT n.nspname = 'public', d.classid::regclass::text,
	coalesce(p.proname, c.relname, t.typname),
	array_to_string(p.proargnames[1:p.pronargs], ',')
FROM pg_depend AS d
JOIN pg_extension AS e ON d.refobjid = e.oid AND e.extname = 'pg_cas'
LEFT JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
LEFT JOIN pg_type AS t ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
	AND t.typelem = 0 AND t.typrelid = 0
JOIN pg_namespace AS n
	ON n.oid IN (p.pronamespace, c.relnamespace, t.typnamespace)
WHERE d.refclassid = 'pg_extension'::regclass
	AND coalesce(p.prorettype <> 'trigger'::regtype, true)
	AND coalesce(obj_description(d.objid, d.classid::regclass::name), '')
		!~ '^(private|internal)\M'
	AND coalesce(c.relkind <> 'c', true)
SQL

my (%functions, %other, %rows);
foreach my $row (rows($members))
{
	my ($public, $class, $name, $arguments) = @$row;

	next if $public ne 't';
	if ($class eq 'pg_proc') { push @{ $functions{$name} }, [ split /,/, $arguments ]; }
	else { $other{$name} = 1; }
}
cmp_ok(scalar keys %functions, '>', 30, 'functions are found');

# The page that describes what a name belongs to.
sub page_of
{
	my ($name) = @_;
	return $name =~ /^cas_/ ? 'docs/rows.md'
	  : $name =~ /^alloc_/ ? 'docs/allocation.md'
	  : $name =~ /^(?:lock|lease)_/ ? 'docs/locks.md'
	  : $name =~ /^request_/ ? 'docs/requests.md'
	  : 'README.md or a page';
}
nothing('each function, view and type is described',
	map { page_of($_) . " does not describe $_" }
	  grep { !$named{$_} } keys %functions, keys %other);

# What is written like a call has to be a function of ours.
my @wrong;
foreach my $page (sort keys %code)
{
	foreach my $code (@{ $code{$page} })
	{
		while ($code =~ /\b((?:cas|alloc|lock|lease|request|pg_cas)_\w+)\(/g)
		{
			push @wrong, "$page: $1()" if !$functions{$1};
		}
	}
}
nothing('each function that is called in the reference exists', @wrong);

# In a table of functions the arguments are those of a form of the function, in
# their order; a type or default may follow the name, and the rest be left out.
@wrong = ();
foreach my $row (table(qr/^function$/))
{
	my ($cell) = $row->{cells}[0];

	while ($cell =~ /`([a-z_0-9]+)\(([^`]*)\)[^`]*`/g)
	{
		my ($name, $list) = ($1, $2);
		my @names = map { /^\s*([a-z_0-9]+)/ ? $1 : () } split /,/, $list;
		my $fits = grep {
			my $form = $_;
			!grep { ($form->[$_] // '') ne $names[$_] } 0 .. $#names
		} @{ $functions{$name} // [] };

		push @wrong, "$row->{at}: $name($list)" if !$fits;
	}
}
nothing('each row of the tables of functions has the arguments of the code', @wrong);

my @arguments = map { $_->{cells}[0] =~ /`(\w+)`/ ? $1 : () } table(qr/^argument$/);
my @enable = @{ (sort { @$b <=> @$a } @{ $functions{cas_enable} })[0] };
is_deeply([ sort @arguments ], [ sort @enable ],
	'the arguments of cas_enable() are those of its table');

#
# Settings: a row each in docs/rows.md, with the default and who may set it; a
# page of a family can show those of its own once more.
#
my %settings = map { $_->[0] => $_ } rows('SELECT name, value, set_by FROM pg_cas_settings');
my @in_server = map { $_->[0] } rows(<<'SQL');
LOAD 'pg_cas';
SELECT name FROM pg_settings WHERE name LIKE 'pg\_cas.%'
SQL
is_deeply([ sort keys %settings ], [ sort @in_server ],
	'the view pg_cas_settings has the settings that the server knows');

my $reference = 'docs/rows.md';
my %described;
@wrong = ();
foreach my $row (table(qr/^setting$/))
{
	my ($names, $default, $set_by) = @{ $row->{cells} };
	my @names = $names =~ /`(pg_cas\.\w+)`/g;

	$default = $default =~ s/^`|`$//gr;
	foreach my $name (@names)
	{
		if (!$settings{$name}) { push @wrong, "$row->{at}: there is no $name"; next; }
		if ($row->{at} =~ /^\Q$reference\E,/)
		{
			$described{$name} = 1;
			push @wrong, "$row->{at}: $name is set by: $settings{$name}[2]"
			  if $set_by ne $settings{$name}[2];
		}

		# A row of several says nothing of their defaults.
		next if @names > 1 || $default eq '';
		push @wrong, "$row->{at}: $name is $settings{$name}[1] by default"
		  if ($default eq 'empty' ? '' : $default) ne $settings{$name}[1];
	}
}
push @wrong, map { "$reference: the table of settings has no row for $_" }
  grep { !$described{$_} } keys %settings;
nothing('each setting has a row, and is as the row says', @wrong);
nothing('each setting named in the reference exists',
	grep { !$settings{$_} && !/\.(?:sql|conf|control|spec|so|h|c)$/ } $all_code =~ /\b(pg_cas\.[a-z_]+)\b/g);

#
# Kinds of pools, as the hint of a wrong one lists them
#
my (undef, undef, $refusal) =
  $node->psql('postgres', q{SELECT alloc_pool_create('p', '{1-9}', kind => 'none')});
my %kinds = map { $_ => 1 } (($refusal =~ /^HINT:  Use (.*)\.$/m)[0] // '') =~ /"(\w+)"/g;
%rows = map { map { $_ => 1 } $_->{cells}[0] =~ /`(\w+)`/g }
  grep { $_->{at} =~ m{^docs/allocation\.md,} } table(qr/^kind$/);
cmp_ok(scalar keys %kinds, '>', 2, 'kinds of pools are found') or diag $refusal;
my ($comment) = map { @$_ } rows(<<'SQL');
SELECT translate(obj_description(oid, 'pg_proc'), '|', '/') FROM pg_proc WHERE proname = 'alloc_pool_create'
SQL
nothing('each kind of pool has a row and is in the comment, and each row is a kind',
	(map { "docs/allocation.md: the table of kinds has no row for $_" } grep { !$rows{$_} } keys %kinds),
	(map { "sql/install: the comment of alloc_pool_create lacks $_" } grep { $comment !~ /\b$_\b/ } keys %kinds),
	(map { "docs/allocation.md: there is no kind $_" } grep { !$kinds{$_} } keys %rows));

#
# SQLSTATEs
#
my %ours = map { s/[',]//gr => 1 }
  slurp_file("$root/src/pg_cas.h") =~ /MAKE_SQLSTATE\(([^)]*)\)/g;
%rows = map { map { $_ => 1 } $_->{cells}[0] =~ /\b(PT\d+)\b/g } table(qr/^SQLSTATE$/);
nothing('the SQLSTATEs of src/pg_cas.h are those of the table',
	(map { "docs/rows.md: the table of SQLSTATEs has no row for $_" } grep { !$rows{$_} } keys %ours),
	(map { "src/pg_cas.h: no $_" } grep { !$ours{$_} } keys %rows));

my %known = map { $_ => 1 } grep { /^(?=.*\d)[0-9A-Z]{5}$/ } map { split } slurp_file(
	`pg_config --sharedir` =~ s/\n//r . '/errcodes.txt');
@wrong = ();
foreach my $page (sort keys %page)
{
	foreach my $state ($page{$page} =~ /(?<!-)\b((?=[0-9A-Z]*\d)(?:PT\d{3}|\d{2}[0-9A-Z]{3}|XX\d{3}|HV\d{3}))\b/g)
	{
		push @wrong, "$page: $state"
		  if !$ours{$state} && !$known{$state} && $state !~ /^\d+$/;
	}
}
nothing('each SQLSTATE named in the reference is one', @wrong);

#
# Versions: the last column of a table of what can be used
#
my ($version) = slurp_file("$root/pg_cas.control") =~ /^default_version = '(.*)'/m;
sub newer { my ($x, $y) = map { sprintf '%03d.%03d', split /\./ } @_; return $x gt $y; }
my $usable = qr/^(?:function|argument|setting|kind|view)$/;
cmp_ok(scalar(() = table($usable)), '>', 60, 'tables of functions are found');
my %in_table = map { $_ => 1 } map { names($_->{cells}[0]) } table($usable);
my %views = map { $_->[0] => 1 } rows(q{SELECT viewname FROM pg_views WHERE schemaname = 'public'});
nothing('each function and view has a row',
	map { page_of($_) . ": no table has a row for $_" }
	  grep { !$in_table{$_} } keys %functions, keys %views);
nothing('each row of these tables has the version that it was added in',
	map { "$_->{at}: $_->{cells}[0]" }
	  grep { $_->{cells}[-1] !~ /^\d+\.\d+$/ || newer($_->{cells}[-1], $version) } table($usable));

# ... and PostgreSQL's
my ($supported) = slurp_file("$root/scripts/majors.sh") =~ /^supported=\((.*)\)/m;
my ($stated) = $page{'README.md'} =~ /runs on PostgreSQL ([\d, and]+),/;
is(join(' ', $stated =~ /\d+/g), $supported, 'the README names the supported versions of PostgreSQL');

#
# Links
#
my %headings;
sub headings
{
	my ($file) = @_;
	my $text = slurp_file($file) =~ s/^```.*?^```//msgr;

	# as GitHub makes anchors of headings
	return { map { (lc s/`//gr) =~ s/[^\w\- ]//gr =~ s/ /-/gr => 1 } $text =~ /^#+ (.*)/mg };
}
@wrong = ();
foreach my $page ('README.md', 'CONTRIBUTING.md', 'SECURITY.md',
	map { s|^\Q$root/\E||r } glob "$root/docs/*.md")
{
	my $text = slurp_file("$root/$page") =~ s/^```.*?^```//msgr;

	while ($text =~ /\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g)
	{
		my ($path, $anchor) = ($1, $2);
		my $file = $path eq '' ? "$root/$page" : dirname("$root/$page") . "/$path";

		if (!-e $file) { push @wrong, "$page: $path"; next; }
		next if !defined $anchor;
		$headings{$file} //= headings($file);
		push @wrong, "$page: $path#$anchor" if !$headings{$file}{$anchor};
	}
}
nothing('each link leads to a file, and to a heading', @wrong);

$node->stop;
done_testing();
