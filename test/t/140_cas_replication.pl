# Claim: a streaming standby reads versioned rows, and raises 25006 for every
# function that writes or locks; promoted, it goes on with the versions, and
# repeats none.  Logical replication brings a publisher's versions along
# unchanged, past whatever the subscriber's guard demands of local writers.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = pg_cas_node('primary', { allows_streaming => 'logical' },
	'max_prepared_transactions = 5');

# Run SQL and answer with its output, or with the SQLSTATE.
sub answer
{
	my ($node, $sql) = @_;
	my ($stdout, $stderr);

	$node->psql('postgres', $sql,
		stdout => \$stdout, stderr => \$stderr,
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	return $stderr =~ /ERROR:  (\w{5})/ ? $1 : $stdout;
}

my $tables = <<'SQL';
CREATE TABLE doc (id text PRIMARY KEY, d jsonb);
CREATE TABLE tab (id int PRIMARY KEY, d jsonb);
SELECT cas_enable('doc', payload_column => 'd', unversioned => 'reject',
	version_path => '{v}');
SELECT cas_enable('tab', payload_column => 'd', writers => 'echo', versions => 'table');
CREATE FUNCTION same(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
SQL
$primary->safe_psql('postgres', $tables);
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', <<'SQL');
SELECT cas_create('doc', 'a', '{}'), cas_update('doc', 'a', 1, '{"n": 1}');
SELECT cas_create('tab', 1, '{}'), cas_create('tab', 2, '{}');
SELECT cas_delete('tab', 2, 2);
SQL
$primary->wait_for_catchup($standby);

# 1. Reads on the standby, and in a read-only transaction on the primary.
my @writes = (
	q{cas_lock('doc', ARRAY['a'])},
	q{cas_lock('doc', ARRAY['a'], 'share')},
	q{cas_create('doc', 'b', '{}')},
	q{cas_update('doc', 'a', 2, '{}')},
	q{cas_update('doc', 'a', 1, '{}')},
	q{cas_update('doc', 'none', 1, '{}')},
	q{cas_patch('doc', 'a', 2, '{}')},
	q{cas_delete('doc', 'a', 2)},
	q{cas_rename('doc', 'a', 2, 'b')},
	q{cas_merge('doc', 'a', '{}')},
	q{cas_apply('doc', 'a', 'same(jsonb,jsonb)')},
	q{cas_put('doc', 'a', '{}')},
	q{cas_try_create('doc', 'b', '{}')},
	q{cas_try_update('doc', 'a', 2, '{}')},
	q{cas_try_patch('doc', 'a', 2, '{}')},
	q{cas_try_delete('doc', 'a', 2)},
	q{cas_try_rename('doc', 'a', 2, 'b')},
	q{cas_enable('doc')},
	q{cas_disable('doc')});

foreach my $case ([ $standby, '', 'standby' ],
	[ $primary, 'SET default_transaction_read_only = on; ', 'read-only' ])
{
	my ($node, $set, $name) = @$case;

	is(answer($node, "$set SELECT * FROM cas_get('doc', 'a')"),
		'a|2|{"n": 1, "v": 2}', "$name: cas_get");
	is(answer($node, "$set SELECT rel, writers, problem FROM cas_tables ORDER BY 1"),
		"doc|bump|\ntab|echo|", "$name: cas_tables");
	is(answer($node, "$set SELECT $_"), '25006', "$name: $_")
	  foreach @writes;
}

# 2. What was not yet replicated when the primary died is lost, and the
# standby goes on.  What it has seen of the sequence never comes again.
$primary->safe_psql('postgres', q{SELECT cas_merge('tab', 1, '{"n": 1}')});
$primary->wait_for_catchup($standby);
my $seen = $primary->safe_psql('postgres',
	'SELECT resource_version FROM tab WHERE id = 1');

# 3. Logical replication, before the primary goes.
my $subscriber = pg_cas_node('subscriber');
$subscriber->safe_psql('postgres', $tables);
$primary->safe_psql('postgres', 'CREATE PUBLICATION p FOR TABLE doc, tab');
$subscriber->safe_psql('postgres', 'CREATE SUBSCRIPTION s CONNECTION '
	  . q{'} . $primary->connstr('postgres') =~ s/'/''/gr . q{'}
	  . ' PUBLICATION p');
$subscriber->wait_for_subscription_sync($primary, 's');

$primary->safe_psql('postgres', <<'SQL');
SELECT cas_update('doc', 'a', 2, '{"n": 2}');
SELECT cas_create('doc', 'b', '{}');
SELECT cas_rename('doc', 'b', 1, 'c');
SELECT cas_merge('tab', 1, '{"n": 2}');
SET session_replication_role = replica;
-- by hand, past the guard: as it is, so it arrives
UPDATE doc SET resource_version = 40, d = '{"v": 40}' WHERE id = 'c';
SQL
$primary->wait_for_catchup('s');
my $rows = 'SELECT * FROM doc ORDER BY id; SELECT * FROM tab ORDER BY id';
is(answer($subscriber, $rows), answer($primary, $rows),
	'subscriber: rows and versions are the publisher\'s');
is( answer(
		$subscriber, q{SELECT count(*) FROM pg_stat_subscription_stats
		WHERE apply_error_count > 0}),
	'0', 'subscriber: apply met no guard');
is(answer($subscriber, q{UPDATE doc SET d = '{"n": 1}' WHERE id = 'c'}),
	'PT428', 'subscriber: local writers do');
is(answer($subscriber, q{SELECT cas_try_update('doc', 'c', 2, '{}')}),
	'(conflict,c,40,"{""v"": 40}")', 'subscriber: a stale one');
is(answer($subscriber, q{SELECT cas_update('doc', 'c', 40, '{"n": 1}')}),
	'41', 'subscriber: and one that is not');

# A sequence does not travel.  It is behind the rows, and says so, until
# cas_enable() sets it.
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION s');
is(answer($subscriber, q{SELECT cas_merge('tab', 1, '{"n": 3}')}),
	'55000', 'subscriber: a sequence that is behind is an error');
is(answer($subscriber, q{INSERT INTO tab VALUES (100, '{}')}),
	'55000', 'subscriber: for an INSERT, too');
$subscriber->safe_psql('postgres',
	q{SELECT cas_enable('tab', payload_column => 'd', writers => 'echo', versions => 'table')});
cmp_ok(answer($subscriber, q{SELECT cas_merge('tab', 1, '{"n": 3}')}),
	'>', answer($primary, 'SELECT max(resource_version) FROM tab'),
	'subscriber: after cas_enable, versions go on');

# 4. Promotion.
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
$standby->promote;
is(answer($standby, q{SELECT cas_try_update('doc', 'a', 2, '{}')}),
	'(conflict,a,3,"{""n"": 2, ""v"": 3}")', 'promoted: a stale version');
is(answer($standby, q{SELECT cas_update('doc', 'a', 3, '{}')}),
	'4', 'promoted: the present one');
is(answer($standby, q{SELECT cas_create('tab', 2, '{}') > }
		. answer($standby, 'SELECT max(resource_version) FROM tab')),
	't', 'promoted: no version comes again');
is(answer($standby, q{SELECT cas_try_update('tab', 1, } . $seen . q{, '{}')})
	  =~ /^\(conflict/,
	1, 'promoted: an earlier one is stale');

done_testing();
