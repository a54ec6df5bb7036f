# Claim: the reference (README.md and docs/*.md) and the code say the same:
#
# - each function, view and type of the extension's own schema is described,
#   and what is described is there, with the arguments and defaults named there;
#   what a table says of a function's result fits its type;
# - so is each argument of cas_enable() with its default, each setting with its
#   default and who may set it, and each kind of pool;
# - the table of SQLSTATEs has each that src/ raises, and no others; what other
#   tables and the comments of functions say to be raised is in it;
# - the tables of outcomes, and of what alloc_reconcile() reports, have the words
#   of the code, and regress tests have provoked all that alloc_verify() reports;
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

# The rows of all tables: page, heading of the first column, all headings, and
# cells.
my @table_rows;
foreach my $page (sort keys %page)
{
	my @columns;
	my $number = 0;

	foreach my $line (split /\n/, $page{$page})
	{
		$number++;
		if ($line !~ /^\|/) { @columns = (); next; }
		my @cells = map { s/^\s+|\s+$//gr } split /(?<!\\)\|/, $line =~ s/^\||\|\s*$//gr, -1;
		if (!@columns) { @columns = @cells; next; }
		next if $cells[0] =~ /^-+$/;
		push @table_rows,
		  {
			at => "$page, line $number",
			heading => $columns[0],
			columns => [@columns],
			cells => \@cells
		  };
	}
}
sub table { my ($heading) = @_; return grep { $_->{heading} =~ $heading } @table_rows; }

# A row's cell in the column with this heading; undefined if the table has none.
sub cell
{
	my ($row, $heading) = @_;
	my ($i) = grep { $row->{columns}[$_] =~ $heading } 0 .. $#{ $row->{columns} };

	return defined $i ? $row->{cells}[$i] : undef;
}

# The first cells of these rows name all of these words of the code, and no others.
sub same_words
{
	my ($name, $rows, @words) = @_;
	my ($page) = map { $_->{at} =~ /^(.*),/ } @$rows;
	my %in_code = map { $_ => 1 } @words;
	my %in_table = map { $_ => 1 } map { $_->{cells}[0] =~ /`([^`]+)`/g } @$rows;

	cmp_ok(scalar keys %in_code, '>', 2, "$name: words are found");
	nothing($name,
		(map { "$page: no row for $_" } grep { !$in_table{$_} } keys %in_code),
		(map { "$page: the code has no $_" } grep { !$in_code{$_} } keys %in_table));
}

# The SQLSTATEs in a text.
sub states { return $_[0] =~ /(?<![-\w])((?=[0-9A-Z]*\d)[0-9A-Z]{5})\b/g; }

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

# Defaults, wherever one is written: "cas_lock(rel, ids, mode DEFAULT 'update')".
my (%declared, %result);
foreach my $row (rows(<<'SQL'))
SELECT p.proname, pg_get_function_arguments(p.oid),
	regexp_replace(pg_get_function_result(p.oid), '^SETOF ', ''),
	coalesce(
		(SELECT string_agg(a.attname, ', ' ORDER BY a.attnum)
		 FROM pg_attribute AS a JOIN pg_type AS t ON t.typrelid = a.attrelid
		 WHERE t.oid = p.prorettype AND t.typtype = 'c' AND a.attnum > 0),
		(SELECT string_agg(c.name, ', ' ORDER BY c.n)
		 FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY AS c (name, mode, n)
		 WHERE c.mode = 't'))
FROM pg_proc AS p
WHERE p.pronamespace = 'public'::regnamespace
SQL
{
	my ($name, $arguments, $type, $columns) = @$row;

	push @{ $declared{$name} }, $arguments =~ s/'00:00:00'::interval/'0'::interval/gr;
	$result{$name} = { type => $type, columns => $columns };
}
@wrong = ();
my $defaults = 0;
foreach my $page (sort keys %page)
{
	while ($page{$page} =~ /\b(\w+)\(([^()`]*\bDEFAULT\b[^()`]*)\)/g)
	{
		my ($name, $list) = ($1, $2);

		next if !$functions{$name};
		foreach (split /,/, $list)
		{
			my ($argument, $default) = /^\s*(\w+)\b.*?\bDEFAULT\s+(\S+)/s or next;

			$defaults++;
			push @wrong, "$page: $name(), $argument DEFAULT $default"
			  if !grep { /\b$argument [^,]*DEFAULT \Q$default\E(?=::|,|$)/ } @{ $declared{$name} };
		}
	}
}
cmp_ok($defaults, '>', 4, 'defaults of arguments are found');
nothing('each default of an argument is that of the code', @wrong);

# What a table says of the result is a type or columns, or begins with a word that
# only one type can mean; most of it describes the value.
my %means = (true => 'boolean', false => 'boolean', when => 'timestamp with time zone');
my $compared = 0;
@wrong = ();
foreach my $row (table(qr/^function$/))
{
	my $cell = cell($row, qr/^(?:returns|result)$/) // next;
	my ($type) = $cell eq '' ? 'void' : $cell =~ /^an? `(\w+)`/;
	my ($columns) = $cell =~ /`\(([a-z_, ]+)\)`/;

	($type) = map { $means{$_} // () } $cell =~ /^(\w+)/ if !defined $type;
	foreach my $name (names($row->{cells}[0]))
	{
		my $result = $result{$name} or next;

		$compared++ if defined $type || defined $columns;
		push @wrong, "$row->{at}: $name() returns $result->{type}"
		  if defined $type && $type ne $result->{type}
		  || !defined $type && $result->{type} eq 'boolean';
		push @wrong, "$row->{at}: $name() returns ($result->{columns})"
		  if defined $columns && $columns ne $result->{columns};
		push @wrong, "$row->{at}: $name() returns no row"
		  if $cell =~ /^(?:a|the) rows?\b/ && $result->{columns} eq '';
	}
}
cmp_ok($compared, '>', 30, 'results are found');
nothing('each result is what the table of the functions says', @wrong);

my %default = map { $_->{cells}[0] =~ /`(\w+)`/ ? ($1 => cell($_, qr/^default$/)) : () }
  table(qr/^argument$/);
my @enable = @{ (sort { @$b <=> @$a } @{ $functions{cas_enable} })[0] };
is_deeply([ sort keys %default ], [ sort @enable ],
	'the arguments of cas_enable() are those of its table');

# An argument that is not given is NULL, since a further call keeps the setting.
# So the defaults are what the first call makes of that.
$node->safe_psql('postgres', q{CREATE TABLE enabled (id int PRIMARY KEY); SELECT cas_enable('enabled')});
my %made = map { $_->[0] => $_->[1] } rows(<<'SQL');
SELECT s.key, s.value FROM cas_tables AS t, jsonb_each_text(to_jsonb(t)) AS s
SQL
nothing('each default of cas_enable() is what its table says',
	(map { "cas_enable(): $_" }
		grep { !/^rel / && !/ DEFAULT NULL::/ } split /, /, $declared{cas_enable}[0]),
	(map { "docs/rows.md: $_ is '$made{$_}' by default" }
		grep { ($default{$_} =~ s/^none$|`//gr =~ s/^\{\}$//r) ne ($made{$_} =~ s/^\[\]$//r) }
		grep { $_ ne 'rel' } @enable));

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
# by the names that PostgreSQL has for them, and those of our own
my %state = map { /^(\w{5})\s+[EWS]\s+(ERRCODE_\w+)/ ? ($2 => $1) : () } split /\n/,
  slurp_file(`pg_config --sharedir` =~ s/\n//r . '/errcodes.txt');
my %known = map { $_ => 1 } values %state;
my %own = slurp_file("$root/src/pg_cas.h") =~ /^#define (ERRCODE_CAS_\w+)\s+MAKE_SQLSTATE\(([^)]*)\)/mg;
%own = map { $_ => $own{$_} =~ s/[',]//gr } keys %own;
%state = (%state, %own);
my %ours = map { $_ => 1 } values %own;

# A name that is not compared with, nor defined, is raised.
my $source = join "\n", map { slurp_file($_) } glob "$root/src/*.[ch] $root/src/*/*.[ch]";
$source =~ s{/\*.*?\*/}{}gs;
$source =~ s/^#define ERRCODE_.*//mg;
my %raised = map { ($state{$_} // $_) => 1 } $source =~ /(?<![=!]= )\b(ERRCODE_\w+)\b(?!\()/g;

# What the table has though PostgreSQL alone raises it, and what it leaves out:
# only somebody who has damaged the extension's objects, or has made others
# beside them, can meet that.
my %passed = map { $_ => 1 } (
	'23503',     # delete or rename of a row that others refer to
	'57014');    # cancel
my %omitted = map { $_ => 1 } (
	'XX000',     # an index or a constraint of others on our tables
	'XX001',     # damage in our tables
	'39P01');    # our trigger functions in triggers of others
%rows = map { map { $_ => 1 } states($_->{cells}[0]) } table(qr/^SQLSTATE$/);
cmp_ok(scalar keys %raised, '>', 20, 'SQLSTATEs are found');
nothing('the SQLSTATEs that are raised are those of the table',
	(map { "docs/rows.md: the table of SQLSTATEs has no row for $_" }
		grep { !$rows{$_} && !$omitted{$_} } keys %raised, keys %passed),
	(map { "src: $_ is not raised" }
		grep { !$raised{$_} && !$passed{$_} } keys %rows, keys %omitted, keys %ours),
	(map { "docs/rows.md: $_ was to be left out" } grep { $rows{$_} } keys %omitted),
	(map { "src: $_ is raised, and not by PostgreSQL alone" } grep { $raised{$_} } keys %passed));

@wrong = ();
foreach my $row (grep { $_->{heading} ne 'SQLSTATE' } @table_rows)
{
	push @wrong, map { "$row->{at}: $_" } grep { !$rows{$_} }
	  states(cell($row, qr/^(?:raises|SQLSTATE)$/) // '');
}
foreach my $comment (rows(<<'SQL'))
SELECT proname, regexp_replace(obj_description(oid, 'pg_proc'), '[|\n]', ' ', 'g')
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
SQL
{
	push @wrong, map { "comment of $comment->[0]: $_" } grep { !$rows{$_} } states($comment->[1]);
}
nothing('what functions raise, by other tables and by comments, is in the table', @wrong);
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
# Outcomes and problems: words that the code returns
#
sub body
{
	my ($file, $function) = @_;
	return (slurp_file("$root/src/$file") =~ /^\Q$function\E\(.*?^\{\n(.*?)^\}/ms)[0] // '';
}
my @outcomes = table(qr/^outcome$/);

same_words('the outcomes of swaps', [ grep { $_->{at} =~ /rows\.md/ } @outcomes ],
	body('cas/outcome.c', 'outcome_name') =~ /return "(\w+)"/g);

my @allocations = grep { defined cell($_, qr/^SQLSTATE$/) } @outcomes;
my %outcome = body('alloc/answer.c', 'alloc_outcome_name') =~ /case (\w+):\s*return "(\w+)"/g;
same_words('the outcomes of allocations', \@allocations, values %outcome);

# ... with the errors that are raised for them
my %error;
my ($switch) = body('alloc/answer.c', 'require_unit') =~ /switch \(answer->outcome\)(.*)/s;
foreach my $part (split /\bbreak;/, $switch // '')
{
	my ($error) = map { $state{$_} } $part =~ /errcode\((\w+)\)/;

	$error{$_} = $error foreach $part =~ /\b(?:case )?(\w+):(?=\s)/g;
}
cmp_ok(scalar keys %error, '>', 3, 'errors of outcomes are found');
@wrong = ();
foreach my $row (@allocations)
{
	my %of = reverse %outcome;
	my $name = $of{ ($row->{cells}[0] =~ /(\w+)/)[0] } // '';
	my $error = $name =~ /_(?:ALLOCATED|HELD)$/ ? '' : $error{$name} // $error{default} // '';

	push @wrong, "$row->{at}: $error" if cell($row, qr/^SQLSTATE$/) ne $error;
}
nothing('each outcome of an allocation has the SQLSTATE of its error', @wrong);

my $import = slurp_file("$root/src/alloc/import.c");
same_words('the outcomes of alloc_import()',
	[ grep { $_->{at} =~ /allocation/ && !defined cell($_, qr/^SQLSTATE$/) } @outcomes ],
	map { /"(\w+)"/g } $import =~ /\breturn ([^;]*);/g,
	$import =~ /\boutcomes?\b[^;=]*=(?!=)([^;]*);/g);

# words that are compared with are no answers
my ($reconcile) = map { s/--.*//gr } slurp_file("$root/sql/install/20-allocation.sql") =~
  /^CREATE FUNCTION alloc_reconcile\(.*?^BEGIN ATOMIC(.*?)^END;/ms;
same_words('the problems that alloc_reconcile() reports', [ table(qr/^problem$/) ],
	($reconcile // '') =~ /(?<!\) )'([a-z]+)'/g);

# What alloc_verify() can report has no table, but has been seen in a regress test.
my @problems = map { s/''/'/gr } map { /\b(?:SELECT|THEN|ELSE) '((?:''|[^'])+)'/g }
  slurp_file("$root/sql/install/20-allocation.sql") =~
  /\bproblems\(problem, detail\) AS \(\n(.*?)^    SELECT p\.name, problems\.problem,/msg;
my $seen = join '', map { slurp_file($_) } glob "$root/expected/alloc_*.out";
cmp_ok(scalar @problems, '>', 15, 'problems of alloc_verify() are found');
nothing('each problem that alloc_verify() can report is in the output of a test',
	grep { $seen !~ /(?:^|[:|]) \Q$_\E/m } @problems);

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
