# Claim: who waits for a counted pool stands in line, in order of arrival.
#
# - One who wants 400 of 500 is served before those who came after and want 1,
#   however they come free; 20 of 20 times.
# - While somebody stands in line, others get "waiting", below and above; who
#   wants more than there can be is told at once; when the time is over, the line
#   is gone.
# - The head of the line is served when a unit runs out, when a transaction that
#   has some ends, and when its own backend is killed, the next one is the head.
use strict;
use warnings;

use PgCas;
use PgCasSession;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('alloc_line');
pg_cas_helpers($node, 'postgres');
my @sessions = map { PgCasSession->start($node, 'postgres') } 0 .. 5;
my %lone = (sleeps => "wait_event_type = 'Extension'",
	line => "wait_event_type = 'Lock' AND wait_event = 'advisory'",
	transaction => "wait_event_type = 'Lock' AND wait_event = 'transactionid'");

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Let a session wait, and wait until it does, in that way.
sub in_line
{
	my ($session, $how, $pool, $key, $n) = @_;

	$sessions[$session]->send("SELECT outcome, generation FROM "
		  . "alloc_try_count('$pool', k($key), $n, wait => '1 hour');");
	$node->poll_query_until('postgres', qq{
		SELECT $lone{$how} FROM pg_stat_activity
		WHERE pid = $sessions[$session]{pid}})
	  or die "session $session: not $how";
	return;
}

# The generation of what the session has been given.
sub generation
{
	my ($session) = @_;
	my $answer = $sessions[$session]->answer;

	return $answer =~ /^allocated\|(\d+)$/m ? $1 : die "session $session: $answer";
}

sql(q{SELECT alloc_pool_create('above', '{}', 'count', capacity => 500),
	alloc_pool_create('pool', '{}', 'count', capacity => 500, parent => 'above'),
	alloc_pool_create('beside', '{1-9}', 'int', parent => 'above')});

my $fair = 0;
foreach my $run (1 .. 20)
{
	# five who have 100 each, and are released in another order each time
	sql('SELECT ' . join ', ', map { "alloc_count('pool', k($_), 100)" } 1 .. 5);
	in_line(0, 'sleeps', 'pool', 100, 400);
	in_line($_, 'line', $_ % 2 ? 'pool' : 'above', 100 + $_, 1) foreach 1 .. 4;
	my @order = map { ($_ * $run) % 6 % 5 + 1 } 1 .. 5;
	my %seen;
	foreach my $key ((grep { !$seen{$_}++ } @order), grep { !$seen{$_}++ } 1 .. 5)
	{
		sql("SELECT alloc_release('pool', k($key))");
	}
	my $first = generation(0);
	my @others = map { generation($_) } 1 .. 4;
	$fair++ unless grep { $_ < $first } @others;
	sql('SELECT alloc_release(pool, key) FROM alloc_units');
}
is($fair, 20, 'who wants 400 is served before those who came after');

# In line for the pool above, though there is room below.
sql(q{SELECT alloc_count('above', k(1), 300), alloc_count('pool', k(1), 199)});
in_line(0, 'sleeps', 'pool', 2, 2);
is(sql(q{SELECT outcome FROM alloc_try_count('above', k(3))}), 'waiting',
	'who would not wait is told that others do, above');
is(sql(q{SELECT outcome FROM alloc_try_count('pool', k(3), wait => '0')}),
	'waiting', 'and below');
is(sql(q{SELECT outcome FROM alloc_try_int('beside', k(3))}), 'waiting',
	'also of a pool of another kind');
is(sql(q{SELECT outcome FROM alloc_import('beside', '[{"value": 5, "name": "x"}]')}),
	'exhausted', 'and of an inventory');
is(sql(q{SELECT outcome FROM alloc_try_count('pool', k(1), 199)}), 'held',
	'who has something is told so');
is(sql(q{SELECT outcome FROM alloc_try_count('pool', k(3), 501, wait => '1 hour')}),
	'exhausted', 'more than there can be');
is(sql(q{SELECT outcome FROM alloc_try_count('pool', k(3), 2, wait => '10 ms')}),
	'busy', 'time is over');
my ($rc, $out, $err) = $node->psql('postgres',
	q{SELECT alloc_count('pool', k(3), 2, wait => '10 ms')});
like($err, qr/could not get a share of pool "above" in time/,
	'and without a try form, an error');
sql(q{SELECT alloc_renew('above', k(1), '1 ms')});
ok(generation(0), 'served when something has run out');
is(sql(q{SELECT outcome FROM alloc_try_count('pool', k(3), 2)}), 'allocated',
	'the line is gone');

# A transaction that holds the rest, and is idle.
sql('SELECT alloc_release(pool, key) FROM alloc_units');
$sessions[5]->ask('BEGIN;');
$sessions[5]->ask(q{SELECT alloc_count('above', k(1), 500);});
in_line(0, 'transaction', 'pool', 2, 1);
in_line(1, 'line', 'pool', 3, 1);
is(sql("SELECT pg_blocking_pids($sessions[1]{pid})"), "{$sessions[0]{pid}}",
	'the head is the blocker of those behind it');
sql("SELECT pg_terminate_backend($sessions[0]{pid})");
$node->poll_query_until('postgres', qq{
	SELECT $lone{transaction} FROM pg_stat_activity
	WHERE pid = $sessions[1]{pid}}) or die 'the next is not the head';
$sessions[5]->ask('ROLLBACK;');
ok(generation(1), 'the next one is served');
is(sql('SELECT * FROM alloc_verify()'), '', 'all pools are sound');
is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), '0',
	'nobody is in line');
$node->stop;

done_testing();
