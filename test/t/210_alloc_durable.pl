# Claim: prepared transactions hold their units and give them back or keep
# them as they end; a dump carries pools with all that is in them, and the
# restored ones go on; a standby answers those who ask again, and says 25006
# to those who want something new; neither pg_locks nor a backend's memory
# grows with the number of calls.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main', { allows_streaming => 1 },
	'max_prepared_transactions = 5');

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub key
{
	my ($n) = @_;
	return sprintf "'00000000-0000-0000-0000-%012d'", $n;
}

# prepared transactions
sql("SELECT alloc_pool_create('one', '{7}', 'int')");
sql("BEGIN; SELECT alloc_int('one', ${\key(1)}); PREPARE TRANSACTION 'p'");
my ($rc, $out, $err) = $node->psql('postgres',
	"SET lock_timeout = '100ms'; SELECT alloc_int('one', ${\key(2)})");
like($err, qr/lock timeout/, 'who wants the last unit waits for the prepared transaction');
$node->restart;
($rc, $out, $err) = $node->psql('postgres',
	"SET lock_timeout = '100ms'; SELECT alloc_int('one', ${\key(1)})");
like($err, qr/lock timeout/, 'so does the key itself, after a restart as well');
sql("ROLLBACK PREPARED 'p'");
is(sql("SELECT alloc_int('one', ${\key(2)})"), '7', 'rolled back, it gives its unit back');
sql("BEGIN; SELECT alloc_release('one', ${\key(2)}); PREPARE TRANSACTION 'p'");
sql("COMMIT PREPARED 'p'");
sql("BEGIN; SELECT alloc_int('one', ${\key(1)}); PREPARE TRANSACTION 'p'");
sql("COMMIT PREPARED 'p'");
is(sql("SELECT alloc_int('one', ${\key(1)})"), '7', 'committed, it keeps it');
# in the session that prepared it: what it learned then is not what became of it
is( sql("SELECT alloc_pool_create('two', '{1-2}', 'int');
	BEGIN; SELECT alloc_int('two', ${\key(1)}); PREPARE TRANSACTION 'p';
	ROLLBACK PREPARED 'p';
	SELECT alloc_int('two', ${\key(2)}), alloc_int('two', ${\key(3)})"),
	"\n1\n1|2", 'and nothing is lost to the session that prepared it');

# a dump, in both formats and as INSERTs, goes on where it was; pools above others
# need not come before them in the table
sql(<<"SQL");
CREATE ROLE app_user;
SELECT alloc_pool_create('addresses', '{10.0.0.0/29, 2.0.0.0/30}', strategy => 'lowest');
SELECT alloc_pool_create('nat', '{2001:db8::/64}', port_chunk => 1024, exclude_ports => '{"[0,1024)"}');
SELECT alloc_pool_create('macs', '{02:00:00:00:00:00/40}', 'mac', strategy => 'lowest');
SELECT alloc_reserve('addresses', '10.0.0.1'), alloc_reserve('macs', '02:00:00:00:00:00/44', on_request => true);
SELECT alloc_mac('macs', ${\key(1)}, consecutive => 3), alloc_mac('macs', ${\key(2)}, '02:00:00:00:00:00', consecutive => 2),
	alloc_mac('macs', ${\key(3)}, consecutive => 3);
SELECT alloc_release('macs', ${\key(1)});
SELECT alloc_grant('addresses', 'app_user');
SELECT alloc_pool_create('above', '{}', 'count', capacity => 9);
SELECT alloc_pool_create('below', '{}', 'count', capacity => 5, parent => 'above');
SELECT alloc_pool_set('above', capacity => 8), alloc_count('below', ${\key(1)}, 3);
SELECT alloc_ip('addresses', ${\key(1)}, note => '{"vm": 1}'), alloc_ip('addresses', ${\key(2)});
SELECT alloc_ports('nat', ${\key(1)}), alloc_ip('nat', ${\key(2)}, ttl => '1 hour');
SELECT alloc_release('addresses', ${\key(1)});
SQL
my $state = q{SELECT * FROM alloc_pools ORDER BY pool; SELECT * FROM alloc_units ORDER BY pool, key, value;
	SELECT * FROM alloc_history ORDER BY generation, value; SELECT * FROM alloc_usage();
	SELECT * FROM alloc_reservations ORDER BY pool, range};
my $before = sql($state);
foreach my $format ('plain', 'custom', 'inserts')
{
	my $file = "$PostgreSQL::Test::Utils::tmp_check/dump.$format";
	my @option = $format eq 'inserts' ? '--inserts' : "--format=$format";

	$node->command_checks_all(
		[ 'pg_dump', @option, '-f', $file, $node->connstr('postgres') ],
		0, [qr/^$/], [qr/^$/], "a $format dump, without a warning");
	sql("CREATE DATABASE $format");
	$node->command_ok(
		$format ne 'custom'
		? [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr($format) ]
		: [ 'pg_restore', '-e', '-d', $node->connstr($format), $file ],
		'is restored');
	is($node->safe_psql($format, $state), $before, 'with all that was in it');
	is( $node->safe_psql($format,
			"SELECT alloc_ip('addresses', ${\key(2)}), alloc_ip('addresses', ${\key(3)}),
				alloc_mac('macs', ${\key(3)}, consecutive => 3), alloc_mac('macs', ${\key(4)}, consecutive => 3);
			SELECT count(*) FROM alloc_verify();
			SELECT alloc_pool_create('next', '{1}', 'int');
			SELECT min(generation) FILTER (WHERE key = ${\key(3)}) > max(generation) FILTER (WHERE key <> ${\key(3)})
			FROM alloc_units WHERE pool = 'addresses'"),
		"2.0.0.2|2.0.0.1|02:00:00:00:00:13|02:00:00:00:00:10\n0\n\nt",
		'and goes on');
}

# a standby
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is( $standby->safe_psql('postgres', "SELECT alloc_ip('addresses', ${\key(2)});
	SELECT value FROM alloc_get('addresses', ${\key(2)});
	SELECT count(*) FROM alloc_verify()"),
	"2.0.0.2\n2.0.0.2\n0", 'a standby answers those who ask again');
foreach my $call ("alloc_ip('addresses', ${\key(9)})", "alloc_release('addresses', ${\key(2)})",
	"alloc_pool_drop('one')", "alloc_pool_create('x', '{1}', 'int')", 'pg_cas_reap()')
{
	($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT $call");
	like($err, qr/25006/, "and says 25006 to $call");
}
$standby->promote;
is( $standby->safe_psql('postgres', "SELECT alloc_ip('addresses', ${\key(9)});
	SELECT count(*) FROM alloc_verify()"),
	"2.0.0.1\n0", 'promoted, it goes on allocating');

# a call keeps no advisory lock
is( sql(q{SELECT alloc_pool_create('many', '{1-20000}', 'int');
	BEGIN;
	SELECT count(*) FROM alloc_many('many', ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 20000)));
	SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'; COMMIT}),
	"\n20000\n0", 'twenty thousand keys in one call keep no advisory lock');

# memory: 20,000 calls in one session
my ($first, $last) = split /\n/, sql(q{
	DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
		PERFORM alloc_release('many', key) FROM (SELECT md5(i::text)::uuid AS key) AS k
		WHERE (alloc_try_int('many', key)).outcome = 'exhausted'; END LOOP; END $$;
	SELECT sum(total_bytes) FROM pg_backend_memory_contexts;
	DO $$ BEGIN FOR i IN 1 .. 20000 LOOP
		PERFORM alloc_release('many', key) FROM (SELECT md5(i::text)::uuid AS key) AS k
		WHERE (alloc_try_int('many', key)).outcome = 'exhausted'; END LOOP; END $$;
	SELECT sum(total_bytes) FROM pg_backend_memory_contexts});
cmp_ok($last, '<', $first + 1_000_000, 'the memory of a backend stays flat');

$standby->stop;
$node->stop;
done_testing();
