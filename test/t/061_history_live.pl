# Claim: fences, generations and table-wide versions rise although a server is
# stopped at once under load, although the primary's sender was stopped and the
# primary goes on, after a subscriber of logical replication has been promoted
# with pg_cas_promoted(), which it needs, and in whatever database is made of an
# old dump or of a template.  Sequences alone, the control, give out the same
# numbers again.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PgCasHistory;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = pg_cas_node('primary', { allows_streaming => 'logical' },
	'wal_keep_size = 256MB', 'autovacuum = off', 'max_connections = 50');
my $pool = q{SELECT alloc_pool_create('pool', '{1-1000000}', 'int');};
$primary->safe_psql('postgres', $pool . history_schema());
rises($primary, 3, 'before anything');

# Let sessions draw as fast as they can, until each was told of some numbers, stop
# the server at once, and return what they were told.
my $file = "$PostgreSQL::Test::Utils::tmp_check/draws";
append_to_file("$file.sql", "${draw}COMMIT;\n\\echo committed ${\('.' x 500)}\n" x 5000);

sub stop_under_load
{
	my ($node) = @_;
	my @files = map { "$file.$_" } 1 .. 4;
	my @clients;

	unlink @files;
	@clients = map {
		IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-f', "$file.sql" ],
			'<', '/dev/null', '>', $_, '2>', "$_.error",
			IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	} @files;
	foreach my $told (@files)
	{
		wait_until('numbers', sub { slurp_file($told) =~ /(committed.*){5}/s });
	}
	$node->stop('immediate');
	foreach (@clients)
	{
		ok(!$_->finish, 'a session was interrupted');
	}
	return map { slurp_file($_) } @files;
}

# 1. A crash under load.  What is promised of fences is promised of those that were
# told before the commit, too.
foreach (stop_under_load($primary))
{
	my ($committed, $open) = /^(.*committed \.+\n)(.*)/s;

	told($committed);
	told(join "\n", grep { /^fence/ } split /\n/, $open);
}
$primary->start;
rises($primary, 5, 'after a crash under load');

# 2. A failover under load.
my $standby = history_standby('standby', $primary);
told($_) foreach stop_under_load($primary);
my @sessions = map { PgCasSession->start($standby, 'postgres') } 1 .. 8;
$_->ask('SELECT count(*) FROM doc; SELECT count(*) FROM alloc_units;') foreach @sessions;
$standby->promote;

# ... all sessions find out at the same time
my $starter = PgCasSession->start($standby, 'postgres');
$starter->ask('SELECT pg_advisory_lock(1);');
$_->send(q{SELECT 'version', cas_create('doc', gen_random_uuid()::text, '{}') FROM pg_advisory_lock_shared(1);})
  foreach @sessions;
$standby->poll_query_until('postgres', q{SELECT count(*) = 8 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted})
  or die 'the sessions do not wait';
$starter->stop;
risen(join('', map { $_->answer } @sessions), 'a failover under load');
$_->stop foreach @sessions;
rises($standby, 50, 'and after that');

# 3. The primary's sender is stopped.  The primary does not notice, and goes on even
# after the standby has been promoted: with smaller numbers, of which none is given
# out twice.
my $cut = history_standby('cut', $standby);
my $sender = $standby->safe_psql('postgres', 'SELECT pid FROM pg_stat_replication');
kill 'STOP', $sender or die "no sender $sender";
rises($standby, 50, 'while the sender is stopped');
$cut->promote;
rises($cut, 50, 'promoted without the last numbers', 1);
my $late = $standby->safe_psql('postgres', "${draw}COMMIT;" x 50);
is(seen_before($late =~ s/^control.*//mgr), 'fence generation version', 'a primary that goes on stays below');
my %old = map { /^(?!control)/ ? ($_ => 1) : () } split /\n/, $late;
my $next = $cut->safe_psql('postgres', "${draw}COMMIT;" x 50);
risen($next, 'beside it');
is(join(' ', grep { $old{$_} } split /\n/, $next), '', 'and has no number in common');
kill 'CONT', $sender;
$standby->stop('immediate');

# 4. A subscriber becomes the primary.
my $subscriber = pg_cas_node('subscriber', { allows_streaming => 1 });
$subscriber->safe_psql('postgres', history_schema());
$cut->safe_psql('postgres', q{
	DO $$ BEGIN
		EXECUTE (SELECT 'CREATE PUBLICATION p FOR TABLE doc, ' || string_agg(oid::regclass::text, ', ')
			FROM pg_class WHERE relkind = 'r' AND relnamespace = 'cas_internal'::regnamespace
			AND relname <> ALL ('{lock_name,lease_state}'));
	END $$});
$subscriber->safe_psql('postgres', q{CREATE SUBSCRIPTION s CONNECTION '}
	  . $cut->connstr('postgres') =~ s/'/''/gr . q{' PUBLICATION p});
$subscriber->wait_for_subscription_sync($cut, 's');
rises($cut, 50, 'while a subscriber follows');
$cut->wait_for_catchup('s');
$cut->stop('immediate');
my $before = PgCasSession->start($subscriber, 'postgres');
$before->ask('ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s;');

# ... without the cure
my $uncured = $before->ask("$draw ROLLBACK;");
is(seen_before($uncured), 'fence generation', 'without pg_cas_promoted, numbers fall');
like($uncured, qr/ERROR:  55000:.* is behind the versions/, 'and versions are refused');

# ... and with it, also in a session from before
$subscriber->safe_psql('postgres', 'SELECT pg_cas_promoted()');
risen($before->ask("${draw}COMMIT;"), 'a session of the subscriber', 1);
$before->stop;
rises($subscriber, 50, 'a subscriber, promoted');
is($subscriber->safe_psql('postgres', q{SELECT alloc_pool_create('new', '{1-10}', 'int');
	SELECT * FROM alloc_verify()}) =~ s/\n//gr, '', 'a subscriber, promoted: a pool can be made');

# ... and its standby is promoted as any other
my $follower = history_standby('follower', $subscriber);
$follower->stop;
rises($subscriber, 50, 'a subscriber, and no standby');
$subscriber->stop('immediate');
$follower->start;
$follower->promote;
rises($follower, 50, "a subscriber's standby", 1);

# 5. An old dump, restored into the same database, and into a new cluster in which
# everything has the same OIDs; and a template.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/history.dump";
$follower->safe_psql('postgres', 'CREATE DATABASE old TEMPLATE postgres');
command_ok([ 'pg_dump', '-Fc', '-d', $follower->connstr('postgres'), '-f', $dump ], 'pg_dump');
rises($follower, 50, 'after the dump');
risen($follower->safe_psql('old', "${draw}COMMIT;"), 'a database made from a template', 1);
command_ok([ 'pg_restore', '-e', '--clean', '-d', $follower->connstr('postgres'), $dump ],
	'restored over what was there');
rises($follower, 5, 'restored over what was there', 1);

$follower->stop;

# The identity of the cluster is all in which these two histories differ.
my $oids = q{SELECT d.oid, c.oid FROM pg_database AS d, pg_class AS c
	WHERE d.datname = current_database() AND c.oid = 'cas_internal.history'::regclass};
my $twin = PostgreSQL::Test::Cluster->new('twin');
my $original = pg_cas_node('original');
history_forget();
$original->safe_psql('postgres', $pool . history_schema());
rises($original, 5, 'another cluster');
command_ok([ 'pg_dump', '-d', $original->connstr('postgres'), '-f', "$dump.sql" ], 'pg_dump');
rises($original, 50, 'after the dump');
$twin->init;
$twin->start;
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $twin->connstr('postgres'), '-f', "$dump.sql" ],
	'restored in a new cluster');
is($twin->safe_psql('postgres', $oids), $original->safe_psql('postgres', $oids),
	'in which the OIDs are the same');
rises($twin, 5, 'restored in a new cluster', 1);
$_->stop foreach $original, $twin;
done_testing();
