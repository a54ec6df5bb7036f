# Claim: pg_upgrade, from the same major version and from an older one, takes
# everything along: guarded tables of all settings with their versions, pools
# in use with what cools down, has expired or is granted, leases, stored
# requests, settings, and who owns what.  In the new cluster everything works,
# and fences, generations and table-wide versions go on above all earlier ones.
use strict;
use warnings;

use PgCas;
use PgCasContents;
use PgCasOlder;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Put all that there can be into a cluster.
sub fill
{
	my ($node) = @_;
	my $contents = PgCasContents->new($node);

	$contents->make_roles;
	$node->safe_psql('postgres', 'CREATE DATABASE shop OWNER app');
	$contents->make;
	$node->safe_psql('postgres', $_) foreach
	  q{ALTER ROLE app SET pg_cas.on_leak = 'error'},
	  q{ALTER DATABASE shop SET pg_cas.history_retention = '9d'};
	return $contents;
}

# Upgrade it to a new cluster of this version.
sub upgrade
{
	my ($old, $name) = @_;
	my $contents = fill($old);
	my $before = $contents->state;
	my @numbers = $contents->draw;
	my $new = PostgreSQL::Test::Cluster->new('new_' . $old->name);

	like($before, qr/^held\|worker\|app\|/m, "$name: the lease is held before");
	is(scalar @numbers, 3, "$name: numbers are drawn before");

	# pg_upgrade wants both clusters to have checksums, which is what initdb does
	# from 18 on, or neither.
	my $sums = $old->safe_psql('postgres', 'SHOW data_checksums') eq 'on';
	$old->stop;
	$new->init(extra => $sums ? ['--data-checksums']
		: $new->pg_version < 18 ? [] : ['--no-data-checksums']);
	chdir $PostgreSQL::Test::Utils::tmp_check;
	command_ok([ 'pg_upgrade', '--no-sync',
			'-d', $old->data_dir, '-D', $new->data_dir,
			'-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'),
			'-s', $new->host, '-p', $old->port, '-P', $new->port ],
		"$name: pg_upgrade");
	$new->start;

	$contents->{node} = $new;
	is($contents->state, $before, "$name: everything is as it was");
	$contents->rises($name, @numbers);
	is($contents->ask(q{SELECT pg_cas_version(); SHOW pg_cas.on_leak; SHOW pg_cas.history_retention})
		  =~ s/^.*\n//r, "error\n9d", "$name: settings are in force");
	is($new->safe_psql('shop', q{SELECT extowner = 10 FROM pg_extension WHERE extname = 'pg_cas'}),
		't', "$name: the extension belongs to the role that ran pg_upgrade");
	$contents->works($name);

	# and it can be dumped and upgraded again
	command_ok([ 'pg_dump', '-f', "$PostgreSQL::Test::Utils::tmp_check/dump.sql",
			'-d', $new->connstr('shop') ], "$name: it can be dumped");
	$new->stop;
	return;
}

upgrade(pg_cas_node('same'), 'the same version');
SKIP:
{
	my $old = pg_cas_older('older')
	  or skip 'no older server that pg_cas supports is installed', 1;

	upgrade($old, 'from ' . $old->pg_version);
}
done_testing();
