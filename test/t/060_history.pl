# Claim: fences, generations and table-wide versions rise through whatever
# becomes of the server: a crash, a standby promoted that lagged, be it a
# synchronous one, two promoted one after the other, pg_rewind and back, a
# restore into the same cluster, and with pg_cas_promoted() what the server
# does not notice. Sequences alone, the control, give out the same numbers
# again.
use strict;
use warnings;

use PgCas;
use PgCasHistory;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = pg_cas_node('primary', { allows_streaming => 1 },
	'wal_log_hints = on', 'wal_keep_size = 256MB', 'autovacuum = off');
$primary->safe_psql('postgres', q{
	SELECT alloc_pool_create('pool', '{1-1000000}', 'int');} . history_schema());
like($primary->safe_psql('postgres', $draw . 'ROLLBACK;'),
	qr/^fence\|1\ngeneration\|[12]\nversion\|1\ncontrol\|1$/, 'numbers begin at 1');
rises($primary, 40, 'before anything');

# 1. A crash: the same history, and no jump.
my $session = draws_uncommitted($primary, 40, 'fence');
$primary->stop('immediate');
$primary->start;
rises($primary, 1, 'after a crash');
cmp_ok(greatest('fence'), '<', 1_000_000, 'no jump after a crash');

# 2. Two standbys that lag behind, promoted one after the other: both are
# timeline 2.
my ($first, $second) = map { history_standby($_, $primary) } 'first', 'second';

# ... one of them with a session that was there before
my $reader = PgCasSession->start($first, 'postgres');
$reader->ask(q{SELECT count(*) FROM lock_holders; SELECT count(*) FROM alloc_get('pool', gen_random_uuid());});

$_->stop foreach $second;
$primary->safe_psql('postgres', q{SELECT pg_switch_wal()});
$primary->wait_for_catchup($first);
my $lag = $first->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
rises($primary, 50, 'on the primary');
$primary->stop('immediate');
$first->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
$first->promote;
risen($reader->ask($draw . 'COMMIT;'), 'a session from before the promotion');
$reader->stop;
rises($first, 50, 'the first standby');
$first->stop('immediate');
$first->start;
rises($first, 5, 'the first standby after a crash');
$first->stop;
$second->start;
$second->promote;
rises($second, 50, 'the second standby', 1);
is( $second->safe_psql('postgres', 'SELECT timeline_id FROM pg_control_checkpoint()'),
	2, 'it is timeline 2 as well');

# 3. A synchronous standby, and numbers that left the primary before commit.
$second->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
$second->reload;
my $sync = history_standby('sync', $second);
$second->poll_query_until('postgres', q{SELECT sync_state = 'sync' FROM pg_stat_replication})
  or die 'no synchronous standby';
rises($second, 3, 'with a synchronous standby');
$sync->stop;
$session = draws_uncommitted($second, 80);
$second->stop('immediate');
$sync->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$sync->start;
$sync->promote;
rises($sync, 3, 'a synchronous standby', 1);

# 4. pg_rewind, and back.
rises($sync, 100, 'before pg_rewind');
$second->start;
$second->stop;
$sync->safe_psql('postgres', 'CHECKPOINT');
command_ok([ 'pg_rewind', '--source-server', $sync->connstr('postgres') . ' dbname=postgres',
		'--target-pgdata', $second->data_dir ], 'pg_rewind');
$second->append_conf('postgresql.conf', 'port = ' . $second->port);
$second->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$second->enable_streaming($sync);
$second->set_standby_mode;
$second->start;
$sync->wait_for_catchup($second);
$second->stop;
rises($sync, 50, 'after the standby has stopped');
$sync->stop('immediate');
$second->start;
$second->promote;
rises($second, 3, 'back on the one that was rewound', 1);

# 5. A restore into the same cluster, of a dump that is older than the numbers.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/history.sql";
command_ok([ 'pg_dump', '-d', $second->connstr('postgres'), '-f', $dump ], 'pg_dump');
rises($second, 50, 'after the dump');
$second->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $second->connstr('restored'), '-f', $dump ],
	'restored');
risen($second->safe_psql('restored', $draw . 'COMMIT;'), 'restored', 1);

# 6. What the server does not notice: a database filled by copies of the rows.
my $rows = "$PostgreSQL::Test::Utils::tmp_check/rows.sql";
$second->safe_psql('postgres', q{CREATE DATABASE copied});
$second->safe_psql('copied', q{
	CREATE EXTENSION pg_cas;} . history_schema());
my $other = PgCasSession->start($second, 'copied');
$other->ask(q{SELECT lock_acquire('{before}'); SELECT cas_create('doc', 'before', '{}');});
foreach my $table ('alloc_pool', 'alloc_range', 'alloc_slot', 'alloc_frontier')
{
	command_ok([ 'psql', '-Xq', '-d', $second->connstr('postgres'), '-c',
			"COPY cas_internal.$table TO '$rows'" ], "$table out");
	command_ok([ 'psql', '-Xq', '-d', $second->connstr('copied'), '-c',
			"COPY cas_internal.$table FROM '$rows'" ], "$table in");
}
my $promoted = $second->safe_psql('copied', 'SELECT pg_cas_promoted()');
cmp_ok($promoted, '>', greatest('fence'), 'pg_cas_promoted');
is($second->safe_psql('copied', q{SELECT alloc_pool_create('new', '{1-10}', 'int')}),
	'', 'a pool can be made');
risen($other->ask($draw . 'COMMIT;'), 'a session from before pg_cas_promoted');
risen($second->safe_psql('copied', $draw . 'COMMIT;'), 'after pg_cas_promoted');
my ($ret, $out, $err) = $second->psql('copied', 'SELECT pg_cas_promoted(-1)');
like($err, qr/invalid value for argument "by"/, 'a negative distance');
$other->stop;

# 7. The end of the numbers.
$second->safe_psql('copied', q{SELECT setval('cas_internal.lock_fence', 9007199254740900)});
is($second->safe_psql('copied', q{BEGIN; SELECT fence FROM lock_acquire('{last}'); ROLLBACK}) =~ /^90071992547409\d\d$/ ? 1 : 0,
	1, 'the last fences');
foreach my $sequence ('cas_internal.lock_fence', 'cas_internal.alloc_generation')
{
	$second->safe_psql('copied', qq{SELECT setval('$sequence', 9007199254740991)});
	my $call = $sequence =~ /fence/ ? q{lock_acquire('{last}')} : q{alloc_int('new', gen_random_uuid())};
	($ret, $out, $err) = $second->psql('copied', "\\set VERBOSITY sqlstate\nBEGIN; SELECT $call;");
	like($err, qr/22003/, "$sequence: 22003 beyond 2^53 - 1");
}
$second->stop;

done_testing();
