# Claim: "make installcheck" passes on a server as initdb makes it, without
# prepared transactions, in a cluster in SQL_ASCII (which is what LC_ALL=C makes
# of it) whose superuser is not called postgres; and it leaves no roles behind.
#
# With PG_CAS_LONG=1 all tests are run, otherwise those that depend on one of
# these.
use strict;
use warnings;

use IPC::Run qw(run timeout);
use PgCas;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir;
my $socket = PostgreSQL::Test::Utils::tempdir_short;
my $superuser = 'Jo Admin';

# Only what says where the server is.
delete @ENV{ grep { /^PG(?!_)/ || /^(?:LANG|LC_.*|TEMP_CONFIG)$/ } keys %ENV };
@ENV{qw(LC_ALL PGHOST PGUSER PGDATABASE)} =
  ('C', $socket, $superuser, 'postgres');

my $running;
END
{
	my $status = $?;
	system_log('pg_ctl', 'stop', '-s', '-m', 'immediate', '-D', "$folder/data")
	  if $running;
	$? = $status;
}

sub sql
{
	my ($query) = @_;
	my ($out, $err) = ('', '');

	run [ 'psql', '-XAtq', '-c', $query ], '<', \'', '>', \$out, '2>', \$err
	  or die $err;
	return $out;
}

# Run a suite, or these tests of it; and answer with its output.
sub installcheck
{
	my (%tests) = @_;
	my $out = '';
	my $ok = run [ 'make', '-s', 'installcheck', map { "$_=$tests{$_}" } keys %tests ],
	  '<', \'', '>', \$out, '2>&1',
	  timeout($PostgreSQL::Test::Utils::timeout_default * long_or(2, 20));

	return ($ok, $out);
}

system_or_bail('initdb', '-D', "$folder/data", '-U', $superuser);
system_or_bail('pg_ctl', 'start', '-s', '-w', '-D', "$folder/data",
	'-l', "$PostgreSQL::Test::Utils::log_path/installcheck.log",
	'-o', "-k '$socket' -c listen_addresses=''");
$running = 1;

is(sql(q{SELECT current_setting('server_encoding'), current_setting('max_prepared_transactions'), current_user}),
	"SQL_ASCII|0|$superuser\n", 'the cluster is as it should be');
my $roles = sql('SELECT rolname FROM pg_roles ORDER BY 1');

my @parts = long_or(
	[ { REGRESS => 'cas_collate cas_payload cas_settings lock_acquire request_claim request_once '
			. 'request_prepared request_rights request_scope rights_cas_hostile rights_cas_names',
		ISOLATION => '' },
		{ REGRESS => '', ISOLATION => 'lock-prepared request-once-vs-once request-scope-set' } ],
	[ { ISOLATION => '' }, { REGRESS => '' } ])->@*;
foreach my $part (@parts)
{
	my ($ok, $out) = installcheck(%$part);

	ok($ok, join ' ', 'make installcheck', map { "$_=$part->{$_}" } sort keys %$part)
	  or diag($out, map { -s $_ ? slurp_file($_) : () }
		  'regression.diffs', 'output_iso/regression.diffs');
}
is(sql('SELECT rolname FROM pg_roles ORDER BY 1'), $roles, 'no role is left');

done_testing();
