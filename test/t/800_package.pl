# Claim: what a packager meets is in order: META.json is what PGXN wants, all papers
# speak of one version, and of the same versions of PostgreSQL, "make dist" makes
# archives with all that is needed to build and nothing else, "make install" installs
# the pages and "make uninstall" removes everything, only the headers of PostgreSQL
# and of the C library are needed, and a machine without 128-bit integers is told so.
use strict;
use warnings;

use File::Find;
use IPC::Run qw(run);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir;
my @make = ('make', '-s', 'with_llvm=no');

# Run a command, which must succeed, and answer with what it says.
sub output
{
	my (@command) = @_;
	my ($out, $err) = ('', '');

	ok(run(\@command, '<', \'', '>', \$out, '2>', \$err), (join ' ', grep { !/^\// } @command) . ' succeeds')
	  or diag($err, $out);
	return $out;
}

# The files below a folder, by their names from there.
sub files
{
	my ($top) = @_;
	my @files;

	find({ wanted => sub { push @files, s|^\Q$top\E/*||r if -f }, no_chdir => 1 }, $top);
	return sort @files;
}

# What a file says of the version.
sub version
{
	my ($file, $pattern) = @_;
	my ($version) = map { /$pattern/ ? $1 : () } split /\n/, slurp_file($file);
	return $version // "none in $file";
}

# META.json, by PGXN's specification 1.0: what must be there, of which kind each
# member is, and that there are no others.
my $text = qr/./;
my $semantic = qr/^(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z.-]+)?$/;
my $range = qr/^(?:(?:[<>]=?|[!=]=) ?\d+\.\d+\.\d+(?:, )?)+$/;
my $term = qr{^[^\s/\\[:cntrl:]]{2,}$};
my $tag = qr{^[^/\\[:cntrl:]]{2,}$};
my $phase = { map { ("$_?" => { '*' => $range }) } qw(requires recommends suggests conflicts) };
my $meta_rules = {
	name => $term,
	abstract => $text,
	'description?' => $text,
	version => $semantic,
	maintainer => [$text],
	license => qr/^postgresql$/,
	'release_status?' => qr/^(?:stable|testing|unstable)$/,
	provides => {
		pg_cas => { file => $text, version => $semantic, 'abstract?' => $text, 'docfile?' => $text } },
	'prereqs?' => { map { ("$_?" => $phase) } qw(configure build test runtime develop) },
	'tags?' => [$tag],
	'generated_by?' => $text,
	'meta-spec' => { version => qr/^1\.0\.\d+$/ } };

# Where a value breaks its rule.
sub faults
{
	my ($value, $rule, $where) = @_;

	if (ref $rule eq 'Regexp')
	{
		return ref $value || $value !~ $rule ? ("$where: $value") : ();
	}
	return "$where is no " . ref $rule if ref $value ne ref $rule;
	return map { faults($_, $rule->[0], "$where\[]") } @$value if ref $rule eq 'ARRAY';
	return (
		map({ my $of = $rule->{$_} // $rule->{"$_?"} // $rule->{'*'};
				$of ? faults($value->{$_}, $of, "$where.$_") : "$where.$_ is unknown" } sort keys %$value),
		map({ "$where.$_ is missing" } grep { !/[?*]$/ && !exists $value->{$_} } sort keys %$rule));
}

my $meta = decode_json(slurp_file('META.json'));
is(join("\n", faults($meta, $meta_rules, 'META.json')), '', 'META.json keeps to the specification');
my $version = $meta->{version};
is($meta->{provides}{pg_cas}{version}, $version, 'the extension has the version of its distribution');
ok(-f $meta->{provides}{pg_cas}{$_}, "its $_ exists") foreach 'file', 'docfile';

my $short = version('pg_cas.control', qr/^default_version = '(.*)'/);
like($version, qr/^\Q$short\E\.\d+$/, 'the control file names the same version');
is(version('debian/changelog', qr/^pg-cas \((.*)-\d+\)/), $version, "and so does Debian's changelog");
is(version('rpm/pg_cas.spec', qr/^Version: *(.*)/), $version, 'and the RPM');
is(version('CHANGELOG.md', qr/\bversion (\d+\.\d+\.\d+)\b|^## \[(\d.*)\]/), $version, 'and the change log');

my $major = version('debian/control', qr/^Package: postgresql-(\d+)-/);
is(slurp_file('debian/control.in') =~ s/PGVERSION/$major/gr, slurp_file('debian/control'),
	'debian/control is made from control.in');

# The major versions, as the scripts have them.
my $majors = version('scripts/majors.sh', qr/^supported=\((.*)\)/);
is(slurp_file('debian/pgversions'), join('', map { "$_\n" } split / /, $majors),
	"Debian's package is for all versions of PostgreSQL that are supported");
SKIP:
{
	skip 'an archive has no workflow' if !-d '.github';
	is(version('.github/workflows/test.yml', qr/^ *major: \[(.*)\]/), $majors =~ s/ /, /gr,
		'so are the tests of the workflow');
}
my @ends = $majors =~ /^(\d+) .*?(\d+)$/;
is($meta->{prereqs}{runtime}{requires}{PostgreSQL}, ">= $ends[0].0.0, < " . ($ends[1] + 1) . '.0.0',
	'and so says META.json');

# The archives, of a repository made of the files here.
SKIP:
{
	skip 'git is not installed' if !grep { -x "$_/git" } split /:/, $ENV{PATH};

	local @ENV{qw(HOME GIT_CONFIG_NOSYSTEM)} = ($folder, 1);
	my $source = "$folder/source";
	my $dist = "pg_cas-$version";

	mkdir $source;
	system_or_bail('sh', '-c', "tar --exclude=./tmp_check -cf - . | tar -C '$source' -xf -");
	foreach my $arguments (['init', '-q'], ['add', '.'],
		[qw(-c user.name=n -c user.email=e commit -q -m all)])
	{
		system_or_bail('git', '-C', $source, @$arguments);
	}
	output(@make, '-C', $source, 'dist');
	ok(-s "$source/$dist.$_", "$dist.$_ is made") foreach 'zip', 'tar.gz';

	system_or_bail('tar', '-C', $folder, '-xf', "$source/$dist.tar.gz");
	my @in = files("$folder/$dist");
	is(join(' ', grep { m{^(?:\.(?!dockerignore)|bench/|test/mutations/|pg_cas-)} || /\.(?:o|so|bc)$/ } @in),
		'', 'what only developers use is not in it, nor what has been built');
	is(join("\n", grep { !-e "$folder/$dist/$_" } qw(Makefile META.json README.md LICENSE pg_cas.control)),
		'', 'what belongs to it is in it');
	output(@make, '-n', '-C', "$folder/$dist", 'all', 'install');
}

# The installation of a packager, and its removal.
output(@make, "DESTDIR=$folder/root", 'install');
my %installed = map { $_ => 1 } files("$folder/root");
my ($readme) = grep { m|/pg_cas/README\.md$| } keys %installed;
ok($readme, 'the pages are installed');
foreach my $page (sort grep { /\.md$/ } keys %installed)
{
	my $here = $page =~ s|[^/]*$||r;
	my @links = slurp_file("$folder/root/$page") =~ /\]\((?!\w+:)([^)#]+)/g;

	# Pages for users refer to installed ones, but for the section on the source.
	next if $page =~ /README|architecture|testing|benchmarks/;
	is(join(' ', grep { !-e "$folder/root/$here$_" } @links), '', "the links of $page lead somewhere");
}
output(@make, "DESTDIR=$folder/root", 'uninstall');
is(join("\n", files("$folder/root")), '', 'uninstalling leaves no file');

# Everything that the sources include, preprocessed once.
my @includes = do {
	my %seen;
	grep { !$seen{$_}++ } map { slurp_file($_) =~ /^(#include .*)/mg } glob('src/*.c src/*/*.[ch]');
};
my $everything = "$folder/everything.c";
append_to_file($everything, join "\n", '#include "postgres.h"', @includes, '');
chomp(my $headers = `pg_config --includedir-server`);
my @needed = split /[\s\\]+/, output('gcc', '-M', '-Isrc', (map { "-I$_" } glob 'src/*/'), "-I$headers", $everything);
cmp_ok(scalar(grep { m|^\Q$headers\E/| } @needed), '>', 100, 'the sources include headers of the server');
is(join(' ', grep { m|/unicode/| } @needed), '', 'and none of ICU');

my $error = '';
ok(!run([ qw(gcc -fsyntax-only -Isrc -U__SIZEOF_INT128__ -x c), 'src/alloc/space.h' ],
		'<', \'', '>', \my $out, '2>', \$error),
	'without 128-bit integers it is not compiled');
like($error, qr/needs a 64-bit machine/, 'which is said');
like(slurp_file('README.md'), qr/\b64-bit\b/, 'and is in the README');
like(slurp_file('debian/control'), qr/^ architecture-is-64-bit\b/m, 'and in the package');

done_testing();
