# Claim: a swap of a plain table that goes past the executor (direct.c) does
# what one through SQL does: random tables, under random guards, are made in
# two databases, and the same random calls, by roles with all kinds of rights,
# alone and in transactions, savepoints, functions and queries of many rows,
# get the same answers and the same errors in both, though pg_cas.direct_path
# is off in one of them; in the end both tables have the same rows, and their
# indexes agree with them.  Who should go past SQL does, and nobody else.
#
# These are 60 tables, or 400 with PG_CAS_LONG=1.  Each table has a seed of
# its own; PG_CAS_SEED (101) is the first one's: another number is another lot
# of tables.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PgCasRandom;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $ntables = long_or(60, 400);
my $seed = seed(101);

my $node = pg_cas_node('main', <<'CONF');
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = 'all'
pg_stat_statements.max = 50000
fsync = off
autovacuum = off
CONF
my $icu = $node->safe_psql('postgres', q{
	SELECT count(*) > 0 AND getdatabaseencoding() = 'UTF8'
	FROM pg_collation WHERE collprovider = 'i'}) eq 't';
$node->safe_psql('postgres', join ';',
	'CREATE EXTENSION pg_stat_statements',
	map { "CREATE ROLE $_" } @PgCasRandom::roles,
	$PgCasRandom::outsider);
my @databases = ('direct', 'spi');
foreach my $database (@databases)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, qq{
		CREATE SCHEMA tools;
		GRANT USAGE ON SCHEMA tools TO PUBLIC;
		CREATE EXTENSION pg_cas SCHEMA tools;
		CREATE EXTENSION amcheck SCHEMA tools;
		ALTER DATABASE $database SET search_path = public, tools});
	$node->safe_psql($database, PgCasRandom::prelude($icu));
}
$node->safe_psql('postgres', q{ALTER DATABASE spi SET pg_cas.direct_path = off});

my $dir = PostgreSQL::Test::Utils::tempdir;
my @psql = ('psql', '-XqAt', '-f', "$dir/script", '-h', $node->host, '-p', $node->port);

# Run the statements in both databases at once.  Return, for each, a list of
# what it said of each statement.
sub run_script
{
	my (@statements) = @_;
	my $line = 3;
	my @line;
	my $text = "\\set VERBOSITY verbose\n\\set SHOW_CONTEXT never\n";

	foreach my $i (0 .. $#statements)
	{
		$text .= "\\echo ## $i\n$statements[$i];\n";
		push @line, ($line + 1) x 2;
		$line += 2 + ($statements[$i] =~ tr/\n//);
	}
	PostgreSQL::Test::Utils::append_to_file("$dir/script.new", $text);
	rename "$dir/script.new", "$dir/script" or die;
	my @runs = map {
		my %run = (out => '', err => '');
		$run{run} = IPC::Run::start([ @psql, $_ ], '<', \undef,
			'>', \$run{out}, '2>', \$run{err});
		\%run
	} @databases;
	my @answers;
	foreach my $run (@runs)
	{
		$run->{run}->finish;
		my @said = ('') x @statements;
		my $i = 0;
		s/pg_temp_\d+/pg_temp/g foreach $run->{out}, $run->{err};
		foreach (split /^/, $run->{out})
		{
			if (/^## (\d+)$/) { $i = $1 }
			else { $said[$i] .= $_ }
		}
		# errors come on a line of their own, by the last line of a statement
		my $n = 2;
		my %statement;
		foreach my $k (0 .. $#statements)
		{
			$n += 2 + ($statements[$k] =~ tr/\n//);
			$statement{$n} = $k;
		}
		$i = undef;
		foreach (split /^/, $run->{err})
		{
			next if /^LOCATION:/;
			if (s/^psql:[^:]*:(\d+): //) { $i = $statement{$1} // die "line $1: $_" }
			die "psql: $_" unless defined $i;
			$said[$i] .= $_;
		}
		push @answers, \@said;
	}
	return @answers;
}

# What is counted of the statements on a table that functions have run in a
# database, of those that pg_cas makes; but not those that make a payload of
# columns, for a patch that is no object: that is always done in SQL.
sub nested
{
	my ($table, $what) = @_;
	return map { $node->safe_psql('postgres', qq{
		SELECT $what FROM pg_stat_statements AS s
		JOIN pg_database AS d ON d.oid = dbid
		WHERE datname = '$_' AND query ~ '^(SELECT|UPDATE|DELETE|INSERT) .*\\m$table AS t\\M'
			AND query !~ 'to_jsonb'}) } @databases;
}

# Which statements go past SQL, by what a table has.  Where that is a trigger or
# an index that makes it so for updates, reads and locks still do.
my %past_sql = (
	(map { $_ => 'all' } 'plain', 'check', 'generated', 'referenced'),
	(map { $_ => 'none' } 'policies', 'rule', 'partitioned'));
my ($tables, $statements, $errors, $different) = (0, 0, 0, 0);
my %kinds;
while ($tables < $ntables && $different < 3)
{
	srand($seed);
	my $name = 't' . ++$tables;
	my $table = PgCasRandom::make_table($name, $seed, $icu);
	my @script = PgCasRandom::script($table, 40);
	my ($direct, $spi) = run_script(@script);
	my @differ = grep { $direct->[$_] ne $spi->[$_] } 0 .. $#script;

	$statements += @script;
	$errors += () = join('', @$direct) =~ /ERROR:/g;
	if (@differ)
	{
		my $i = $differ[0];
		my $made = join ";\n", grep { /^(CREATE|ALTER|GRANT|SELECT cas_enable)/ } @script;
		fail("PG_CAS_SEED=$seed: both paths say the same");
		diag("$made;\n...\n", join(";\n", @script[ ($i > 8 ? $i - 8 : 0) .. $i ]),
			";\n-- directly:\n", substr($direct->[$i], 0, 2000),
			"-- by SPI:\n", substr($spi->[$i], 0, 2000), scalar @differ, ' differ');
		$different++;
	}
	elsif ($table->{pure})
	{
		my ($on, $off) = nested($name, 'coalesce(sum(calls), 0)');
		my $kind = $table->{unplain} || 'plain';
		$kinds{$kind} += $off;
		my $past = $past_sql{$kind} // 'some';
		if ($past eq 'all' ? $on : $past eq 'none' ? $on != $off : $on > $off)
		{
			fail("PG_CAS_SEED=$seed: $kind: $on statements, $off with the setting off");
			diag(nested($name, "string_agg(calls || ': ' || query, E'\\n')"));
			$different++;
		}
	}
	$seed++;
}
is($different, 0, 'the two paths are the same');
note("$tables tables, $statements statements, $errors errors; by SPI, where no direct path is: ",
	join ', ', map { "$_ $kinds{$_}" } sort keys %kinds);
cmp_ok($kinds{plain}, '>', 0, 'plain tables went past SPI');
cmp_ok(scalar(grep { $_ } values %kinds), '>', 1, 'and others did not');
cmp_ok($errors, '>', $tables, 'errors were compared, too');
cmp_ok($errors, '<', $statements / 2, '... but not only those');

unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|signal 11| XX000 /, 'no crash');

done_testing();
