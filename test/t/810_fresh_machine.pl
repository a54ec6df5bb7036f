# Claim: on a new machine of Debian, scripts/demo gets what it needs by itself if
# root runs it, and otherwise says what to install, after which it needs nothing
# more; neither brings along clang, LLVM's headers or npm, or takes more than three
# minutes of work; and what scripts/test wants and cannot have skips the tests that
# need it, by name and with the reason, and fails no other.
#
# Only with PG_CAS_LONG=1, as root, and where debootstrap and a
# mirror of Debian are to be had. PG_CAS_RELEASES names other releases.
use strict;
use warnings;

use PgCasMachine;
use PostgreSQL::Test::Utils;
use Test::More;

my $titles = () = slurp_file('test/demo.out') =~ /^== .* ==$/mg;

# What the demo has shown, and what it has cost.
sub demo_is_played
{
	my ($who, $share) = @_;
	my $out = slurp_file("$share/demo.out");
	my $shown = () = $out =~ /^== .* ==$/mg;

	is($shown, $titles, "$who: all scenes are played") or diag(substr $out, -2000);
	is(join(' ', grep { /^(?:clang|libclang|llvm|npm)/ } split /\n/, slurp_file("$share/packages")),
		'', "$who: without clang, LLVM and npm");
	cmp_ok(slurp_file("$share/seconds"), '<', 180, "$who: in less than three minutes of work");
	return;
}

foreach my $release (releases())
{
	my $share = shared_folder($release);

	ok(machine($release, $share, 'demo-as-root'), "$release, root: the demo");
	demo_is_played("$release, root", $share);
	is(slurp_file("$share/again"), '', "$release, root: nothing is left to set up");

	ok(machine($release, $share, 'demo-as-user'), "$release, user: the demo, once what it asks for is there");
	like(slurp_file("$share/asks"), qr/^scripts\/setup: missing: make gcc libc6-dev postgresql-\d+\n.*as root/m,
		"$release, user: it says what to install");
	demo_is_played("$release, user", $share);

	ok(machine($release, $share, 'test-without'), "$release: tests without clients");
	my $tests = slurp_file("$share/tests");
	like($tests, qr/^scripts\/setup: missing: pgbouncer .*nodejs.*; the tests that need them are skipped$/m,
		"$release: what cannot be had is named");
	like($tests, qr/^tap $_ +\.\.\. skipped: .* not installed/m, "$release: $_ is skipped, with the reason")
	  foreach qw(420_request_pgbouncer 430_request_http 440_request_python);
	like($tests, qr/^tap 010_readme +\.\.\. ok/m, "$release: the README's examples are run");
	like($tests, qr/^\d+ passed, 0 failed$/m, "$release: and no test fails");
}

done_testing();
