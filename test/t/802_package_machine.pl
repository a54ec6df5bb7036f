# Claim: on new machines of Debian, the package is built for the PostgreSQL that
# the release has; installed on another one, CREATE EXTENSION works on a cluster as
# the release makes it, the first screen of the README shows what it says, and
# purging the package leaves no file. The Dockerfile's steps and the RPM work in
# the same way.
#
# Only with PG_CAS_LONG=1, as root, and where debootstrap and a
# mirror of Debian are to be had. PG_CAS_RELEASES names other releases.
use strict;
use warnings;

use PgCasMachine;
use PostgreSQL::Test::Utils;
use Test::More;

# The README up to the first heading: its SQL, and what psql shows of it.
my ($screen) = slurp_file('README.md') =~ /^(.*?)^## /ms;
my ($sql, $shown) = ('', '');
while ($screen =~ /^```(sql)?\n(.*?)^```\n/msg)
{
	if   ($1) { $sql .= $2; }
	else      { $shown .= $2; }
}

# What psql shows, without places in files and what the README leaves out.
sub shown
{
	my ($text) = @_;

	return $text =~ s/^psql:\S+ //mgr =~ s/^(?:CREATE .*|INSERT 0 1)\n//mgr
	  =~ s/^ cas_enable \n-+\n \n\(1 row\)\n//mr =~ s/^\n//mgr;
}

foreach my $release (releases())
{
	my $share = shared_folder($release);

	append_to_file("$share/play.sql", $sql);
	SKIP:
	{
		ok(machine($release, $share, 'build-deb'), "$release: the package is built") or skip 'no package';
		unlike(slurp_file("$share/log"), qr/dpkg-gencontrol: warning/, "$release: without a warning about its fields");
		ok(machine($release, $share, 'install-deb'), "$release: it is installed and purged");

		my $files = slurp_file("$share/files");
		my ($major) = $files =~ m{^/usr/lib/postgresql/(\d+)/lib/pg_cas\.so$}m;
		ok($major, "$release: the library is in it");
		like($files, qr{^/usr/share/postgresql/$major/extension/pg_cas\.control$}m, "$release: and the control file");
		like($files, qr{^/usr/share/doc/postgresql-doc-$major/pg_cas/docs/rows\.md$}m, "$release: and the pages");
		like(slurp_file("$share/depends"), qr/postgresql-$major \(>[>=] $major\.\d/,
			"$release: it needs the minor release that it was built for");
		is(shown(slurp_file("$share/played")), shown($shown), "$release: the README's first screen");
		is(slurp_file("$share/traces"), '', "$release: no trace is left");
	}
	ok(machine($release, $share, 'dockerfile'), "$release: the steps of the Dockerfile");
	is(shown(slurp_file("$share/played")), shown($shown), "$release: the README's first screen in the second stage");
	ok(machine($release, $share, 'build-rpm'), "$release: the RPM is built");
	like(slurp_file("$share/rpm-files"), qr{/pg_cas\.so$}m, "$release: with the library in it");
}

done_testing();
