# PgCasMachine.pm: new machines (scripts/machine), for tests of what happens on
# them.  "use PgCasMachine" skips a test, with the reason, where there can be none.
package PgCasMachine;

use strict;
use warnings;

use Exporter 'import';
use File::Temp;
use IPC::Run qw(run timeout);
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(releases shared_folder machine);

plan skip_all => 'takes minutes: set PG_CAS_LONG=1' unless $ENV{PG_CAS_LONG};
plan skip_all => 'needs root, to make a machine' if $> != 0;
foreach my $program (qw(debootstrap apt-get unshare))
{
	plan skip_all => "needs $program" unless grep { -x "$_/$program" } split(/:/, $ENV{PATH}), '/usr/sbin';
}

# The releases of Debian to try.
sub releases
{
	return split ' ', $ENV{PG_CAS_RELEASES} // 'bookworm trixie';
}

# A folder that a machine can write to.
sub shared_folder
{
	my ($release) = @_;
	my $folder = File::Temp::tempdir("pg_cas_$release.XXXXXX", TMPDIR => 1, CLEANUP => 1);

	chmod 0777, $folder;
	return $folder;
}

# machine(RELEASE, FOLDER, NAME, OPTION...): run test/machine/NAME on a new machine,
# with the options of scripts/machine.  What it says is in FOLDER/log.
sub machine
{
	my ($release, $folder, $name, @options) = @_;
	my $ok = run [ 'scripts/machine', @options, '--share', $folder, $release, "/pg_cas/test/machine/$name" ],
	  '<', \'', '>', "$folder/log", '2>&1', timeout(3600);

	diag(substr slurp_file("$folder/log"), -4000) unless $ok;
	return $ok;
}

1;
