# Claim: alloc_verify, alloc_usage and alloc_map say nothing wrong of pools
# that are sound and in use: no damage, nothing counted twice or below zero.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('busy', 'fsync = off');
$node->safe_psql('postgres', <<'SQL');
SELECT alloc_pool_create('any', '{0-199}', 'int');
SELECT alloc_pool_create('lowest', '{0-199}', 'int', 'lowest');
SELECT alloc_pool_create('prefix', '{10.0.0.0/20}', 'prefix');
SELECT alloc_pool_create('ports', '{10.0.0.0-10.0.0.31}', port_chunk => 4096);
SQL
my $script = $node->basedir . '/busy.sql';
append_to_file($script, <<'SQL');
\set n random(1, 60)
\set m random(1, 60)
SELECT alloc_int('any', lpad(:n::text, 32, '0')::uuid), alloc_int('lowest', lpad(:n::text, 32, '0')::uuid);
SELECT alloc_release('any', lpad(:m::text, 32, '0')::uuid), alloc_release('lowest', lpad(:m::text, 32, '0')::uuid);
SELECT alloc_try_prefix('prefix', lpad(:n::text, 32, '0')::uuid, 26 + :n % 5), alloc_try_ports('ports', lpad(:n::text, 32, '0')::uuid);
SELECT alloc_release('prefix', lpad(:m::text, 32, '0')::uuid), alloc_release('ports', lpad(:m::text, 32, '0')::uuid);
SQL

# The clients go on until they have been looked at often enough; before each look
# they have done something since the last one.
my $clients = IPC::Run::start(
	[   'pgbench', '-n', '-c', '3', '-t', '100000000', '--random-seed=1', '-f', $script,
		$node->connstr('postgres') ],
	'>', \my $out, '2>', \my $err);
my ($ended, $problems, $wrong) = (0, '', 0);
foreach my $look (1 .. 30)
{
	wait_until('the clients go on', sub {
		my $now = $node->safe_psql('postgres', 'SELECT count(*) FROM alloc_history');
		return 0 if $now <= $ended;
		return $ended = $now; });
	$problems .= $node->safe_psql('postgres', 'SELECT * FROM alloc_verify()');
	$wrong += $node->safe_psql('postgres', <<'SQL');
SELECT count(*) FROM alloc_usage()
WHERE capacity <> reserved + allocated + cooling + free
   OR least(reserved, allocated, cooling, free) < 0 OR percent_used > 100
SQL
}
ok($clients->pumpable, 'the clients were at work all the time');
$clients->signal('TERM');
$clients->finish;
unlike($err, qr/ERROR|aborted/, 'and have met no error') or diag $err;
is($problems, '', 'alloc_verify found nothing');
is($wrong, 0, 'alloc_usage adds up');
is($node->safe_psql('postgres', 'SELECT count(*) FROM alloc_verify()'), '0', 'nor did it in the end');

done_testing();
