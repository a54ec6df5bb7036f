# What NetBox, Kea and FreeRADIUS have given out is moved to pools by the scripts of
# examples/migration: everything is imported, nothing differs then, a second run
# finds it held, and what is changed on either side is told.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename;
use PgCas;
use Test::More;

my $node = pg_cas_node('migration', 'fsync = off');
my $folder = abs_path(dirname(__FILE__) . '/../../examples/migration');

# Runs scripts in one session, as the README says.
sub play
{
	my @files = map { ('-f', "$folder/$_") } @_;
	my ($out, $err);
	my $before = Cwd::getcwd();

	chdir $folder;
	my $ok = IPC::Run::run([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1',
			'-d', $node->connstr('postgres'), @files ], '>', \$out, '2>', \$err);
	chdir $before;
	ok($ok, "@_") or diag($err);
	# what the functions that create pools return, and NOTICEs that pools exist
	return join "\n", grep { /\S/ && !/^\|*$/ } split /\n/, $out;
}

my %moved = (
	'netbox.sql' => [
		[ 'addresses of 10.40.0.0/24', 5 ], [ 'prefixes of 10.40.0.0/16', 4 ],
		[ 'prefixes of blue 10.40.0.0/16', 1 ],
		[ 'vlans of lab', 3 ] ],
	'kea_memfile.sql' => [ [ 'kea 1', 3 ], [ 'kea 2', 2 ] ],
	'kea_postgresql.sql' => [ [ 'kea 3', 4 ] ],
	'freeradius.sql' => [ [ 'radius dialup', 2 ], [ 'radius office', 1 ] ]);

$node->safe_psql('postgres', "\\i $folder/kea/lease4.sql");
$node->safe_psql('postgres', "\\i $folder/freeradius/radippool.sql");
foreach my $script (sort keys %moved)
{
	my @pools = @{$moved{$script}};

	foreach my $outcome ('imported', 'held')
	{
		is(play($script),
			join("\n",
				(map { "$_->[0]|$outcome|$_->[1]" } @pools),
				(map { "$_->[0]|0" } @pools)),
			"$script: $outcome");
	}
}

is($node->safe_psql('postgres', "SELECT note->>'dns_name' FROM alloc_units WHERE value = '10.40.0.10'"),
	'web1.lab.example', 'with a note');
is($node->safe_psql('postgres', q(SELECT note->'context'->'door' FROM alloc_units WHERE value = '10.41.0.11')),
	'7', 'a comma in the lease file');
is($node->safe_psql('postgres', q(SELECT extract(epoch FROM expires_at) FROM alloc_units WHERE value = '10.41.0.10')),
	'4070912400.000000', 'the last line for an address counts');
is($node->safe_psql('postgres', q(SELECT value, expires_at IS NULL FROM alloc_units WHERE pool = 'kea 3' ORDER BY address)),
	"10.42.0.10|f\n10.42.0.11|f\n10.42.0.13|f\n10.42.0.15|t", 'addresses as numbers');
is($node->safe_psql('postgres', q(SELECT value FROM alloc_units WHERE pool = 'kea 2' AND expires_at IS NULL)),
	'10.41.1.21', 'a lease that does not expire');
is($node->safe_psql('postgres', q(SELECT ranges FROM alloc_pools WHERE pool = 'radius dialup')),
	'{10.43.0.1-10.43.0.4,10.43.0.7}', 'rows become ranges');
is($node->safe_psql('postgres', q(SELECT alloc_ip('radius dialup', alloc_key('radius session 192.0.2.1 17')))),
	'10.43.0.1', 'a session asks for what it has');

# Something changes on either side.
$node->safe_psql('postgres', q(
	UPDATE radippool SET pool_key = '19' WHERE username = 'bob';
	UPDATE radippool SET expiry_time = '2023-11-14' WHERE username = 'dave';
	SELECT alloc_ip('radius dialup', alloc_key('new'))));
is(play('freeradius.sql'),
	join("\n", 'radius dialup|held|1', 'radius dialup|taken|1',
		'radius dialup|10.43.0.2|' . $node->safe_psql('postgres', "SELECT alloc_key('radius session 192.0.2.1 19')") . '|taken',
		'radius dialup|2'), 'what has changed is told');
is($node->safe_psql('postgres', 'SELECT count(*) FROM alloc_verify()'), '0', 'sound');

$node->stop;
done_testing();
