# Claim: a swap that waits for another session, or comes after it under an
# older snapshot, gets the same answer past the executor (direct.c) as through
# SQL.  Whatever the other one did to the row - updated, deleted, renamed,
# locked it, put another one in its place -, whether it commits or rolls back,
# and at each isolation level: each scene is played in two databases, in one of
# which pg_cas.direct_path is off, and all that is said in them is compared.
#
# 150 scenes are drawn by lot, 3,000 with PG_CAS_LONG=1; PG_CAS_SEED (1) says
# which.
use strict;
use warnings;

use PgCas;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $nscenes = long_or(150, 3000);
seed(1);

# Tables: documents, with an index that changes with them and without one,
# versions drawn from a sequence; and columns, for whose updates a version is
# demanded.
my $node = pg_cas_node('main', "fsync = off\nautovacuum = off");
my @databases = ('direct', 'spi');
foreach my $database (@databases)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, <<'SQL');
CREATE EXTENSION pg_cas;
CREATE TABLE indexed (id text PRIMARY KEY, doc jsonb, extra int, v bigint DEFAULT 1);
CREATE INDEX ON indexed ((doc ->> 'n'));
SELECT cas_enable('indexed', 'v', payload_column => 'doc', ignore_columns => '{extra}', version_path => '{version}');
CREATE TABLE sequenced (id text PRIMARY KEY, doc jsonb, extra int, v bigint DEFAULT 1);
SELECT cas_enable('sequenced', 'v', payload_column => 'doc', ignore_columns => '{extra}', writers => 'echo', versions => 'table');
CREATE TABLE columned (id text PRIMARY KEY, n int UNIQUE, extra int, v int DEFAULT 1);
SELECT cas_enable('columned', 'v', ignore_columns => '{extra}', unversioned => 'reject');
CREATE FUNCTION add(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS
	$$SELECT p || jsonb_build_object('n', (p ->> 'n')::int + (args #>> '{}')::int)$$;
SQL
}
$node->safe_psql('postgres', 'ALTER DATABASE spi SET pg_cas.direct_path = off');

my %session;
foreach my $database (@databases)
{
	$session{$database}{$_} = PgCasSession->start($node, $database)
	  foreach qw(holder waiter observer);

	# of two that wait for each other, the holder is to give up
	$session{$database}{holder}->ask("SET deadlock_timeout = '20ms';");
	$session{$database}{waiter}->ask("SET deadlock_timeout = '10min';");
}

# What the holder does.  SET is an assignment of 2 to n, HOW a row's other
# columns, T the table.
my @held = (
	"UPDATE T SET SET WHERE id = 'a';",
	"UPDATE T SET SET WHERE id = 'a'; UPDATE T SET extra = 9 WHERE id = 'a';",
	"UPDATE T SET extra = 5 WHERE id = 'a';",
	"SELECT cas_merge('T', 'a', '{\"n\": 2}');",
	"SELECT cas_merge('T', 'a', '{\"n\": 1}');",
	"SELECT cas_apply('T', 'a', 'add(jsonb, jsonb)', '1');",
	"SELECT * FROM cas_lock('T', '{a,b}');",
	"SELECT 1 FROM T WHERE id = 'a' FOR NO KEY UPDATE;",
	"SELECT 1 FROM T WHERE id = 'a' FOR SHARE;",
	"SELECT 1 FROM T WHERE id = 'a' FOR KEY SHARE;",
	"SELECT 1 FROM T WHERE id = 'a' FOR KEY SHARE; UPDATE T SET SET WHERE id = 'a';",
	"DELETE FROM T WHERE id = 'a';",
	"DELETE FROM T WHERE id = 'a'; INSERT INTO T VALUES ('a', HOW, 0, 1);",
	"DELETE FROM T WHERE id = 'a'; INSERT INTO T VALUES ('a', HOW, 0, 1); UPDATE T SET SET WHERE id = 'a';",
	"UPDATE T SET id = 'y', ECHO WHERE id = 'a';",
	"UPDATE T SET id = 'y', ECHO WHERE id = 'a'; INSERT INTO T VALUES ('a', HOW, 0, 1);",
	"UPDATE T SET id = 'y', ECHO WHERE id = 'a'; UPDATE T SET id = 'a', ECHO WHERE id = 'y';",
	"UPDATE T SET id = 'y', ECHO WHERE id = 'a'; UPDATE T SET id = 'a', ECHO WHERE id = 'b';",
	"SELECT cas_rename('T', 'a', 1, 'y');",
	"SELECT cas_rename('T', 'a', 1, 'y'); SELECT cas_rename('T', 'b', 1, 'a');",
	"SELECT cas_rename('T', 'a', 1, 'y'); SELECT cas_create('T', 'a', '{\"n\": 8}');",
	"SAVEPOINT s; UPDATE T SET SET WHERE id = 'a'; ROLLBACK TO s;",
	"SELECT 1 FROM T WHERE id = 'a' FOR UPDATE; SAVEPOINT s; DELETE FROM T WHERE id = 'a'; ROLLBACK TO s;",
	"SAVEPOINT s; UPDATE T SET SET WHERE id = 'a'; RELEASE s; UPDATE T SET extra = 3 WHERE id = 'a';",
	"INSERT INTO T VALUES ('z', HOW, 0, 4);",
	"UPDATE T SET SET WHERE id = 'b';");

# And what the waiter does.
my @waits = (
	map({ my $v = $_;
		map { ("SELECT cas_update('T', 'a', $v, '{\"n\": $_}');",
			"SELECT * FROM cas_try_update('T', 'a', $v, '{\"n\": $_}');") } 1, 2, 7 } 1, 2, 3),
	map({ ("SELECT cas_patch('T', 'a', $_, '{\"n\": 7}');",
		"SELECT * FROM cas_try_patch('T', 'a', $_, '{\"n\": 2}');") } 1, 2),
	"SELECT cas_merge('T', 'a', '{\"n\": 7}');",
	"SELECT cas_merge('T', 'a', '{\"n\": 2}');",
	"SELECT cas_merge('T', 'a', '{\"n\": 7}'), cas_merge('T', 'a', '{\"n\": 11}');",
	"SELECT cas_apply('T', 'a', 'add(jsonb, jsonb)', '10');",
	"SELECT cas_apply('T', 'a', 'add(jsonb, jsonb)', '0');",
	"SELECT cas_put('T', 'a', '{\"n\": 7}');",
	"SELECT cas_put('T', 'z', '{\"n\": 7}');",
	"SELECT * FROM cas_lock('T', '{a}', 'update');",
	"SELECT * FROM cas_lock('T', '{z,b,a}', 'update');",
	"SELECT * FROM cas_lock('T', '{a,b}', 'share');",
	"SELECT * FROM cas_get('T', 'a');",
	"SELECT * FROM cas_get('T', 'z');",
	"SELECT cas_update('T', 'z', 4, '{\"n\": 7}');",
	map({ "SELECT cas_txn('[{\"table\": \"T\", \"id\": \"a\", \"version\": $_}]',
		'[{\"op\": \"update\", \"table\": \"T\", \"id\": \"a\", \"payload\": {\"n\": 7}}]',
		'[{\"op\": \"get\", \"table\": \"T\", \"id\": \"a\"}]');" } 1, 2),
	"SELECT cas_txn('[{\"table\": \"T\", \"id\": \"a\", \"exists\": true}]',
		'[{\"op\": \"merge\", \"table\": \"T\", \"id\": \"b\", \"patch\": {\"n\": 12}}, {\"op\": \"merge\", \"table\": \"T\", \"id\": \"a\", \"patch\": {\"n\": 7}}]',
		'[{\"op\": \"put\", \"table\": \"T\", \"id\": \"z\", \"payload\": {\"n\": 13}}]');",
	"SELECT cas_txn('[{\"table\": \"T\", \"id\": \"z\", \"absent\": true}]',
		'[{\"op\": \"apply\", \"table\": \"T\", \"id\": \"a\", \"fn\": \"add(jsonb, jsonb)\", \"args\": 5}]');",
	"SELECT cas_delete('T', 'a', 1);",
	"SELECT * FROM cas_try_delete('T', 'a', 2);",
	"SELECT cas_rename('T', 'a', 1, 'z');",
	"SELECT * FROM cas_try_rename('T', 'b', 1, 'a');",
	"SELECT * FROM cas_try_create('T', 'a', '{\"n\": 7}');",
	"SELECT * FROM cas_try_create('T', 'z', '{\"n\": 7}');");

sub one { return $_[ rand @_ ] }

# Ask a session of both databases at once; return both answers.
sub ask
{
	my ($who, $sql) = @_;
	$session{$_}{$who}->send($sql) foreach @databases;
	return map { $session{$_}{$who}->answer } @databases;
}

# Wait until a database's waiter waits, or has its answer; return which.
sub waits
{
	my ($database) = @_;
	my ($waiter, $observer) = @{ $session{$database} }{qw(waiter observer)};

	until ($waiter->answered)
	{
		return 1
		  if $observer->ask(
			"SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $waiter->{pid};") > 0;
	}
	return 0;
}

# What has to be the same.  PostgreSQL's own 40001 names no table, where ours
# does.  Versions of a sequence may be drawn by who then finds that it has
# lost, so they count by their order.
sub comparable
{
	my ($said) = @_;
	my %rank;

	$said =~ s/(ERROR:  40001.*\n(DETAIL:.*\n)?)(SCHEMA NAME:.*\n)?(TABLE NAME:.*\n)?/$1/g;
	$said =~ s/\b(Process|transaction|process) \d+/$1/g;
	$rank{$_} = undef foreach $said =~ /\b1\d{5}\b/g;
	@rank{ sort keys %rank } = map { "#$_" } 1 .. keys %rank;
	$said =~ s/\b(1\d{5})\b/$rank{$1}/g;
	return $said;
}

my ($scenes, $waited, $failed, $different) = (0) x 4;
while ($scenes < $nscenes && $different < 5)
{
	my $table = one('indexed', 'sequenced', 'columned');
	my ($how, $set, $echo) =
	  $table eq 'columned' ? (21, 'n = 2, v = v + 1', 'v = v + 1')
	  : $table eq 'indexed' ? (q('{"n": 21}'), q(doc = '{"n": 2}'), 'v = v + 1')
	  : (q('{"n": 21}'), q(doc = '{"n": 2}'), 'v = v');
	my $play = sub { return $_[0] =~ s/\bT\b/$table/gr =~ s/\bHOW\b/$how/gr =~ s/\bSET SET\b/SET $set/gr =~ s/\bECHO\b/$echo/gr };
	my $level = one('', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE');
	my $before = one('SELECT 1;', 'SELECT count(*) FROM T;', "SELECT cas_merge('T', 'c', '{\"n\": 33}');", "SELECT * FROM cas_get('T', 'a');");
	my @scene = map { $play->($_) } (
		"DELETE FROM T; INSERT INTO T VALUES ('a', ROW1, 0, 1), ('b', ROW3, 0, 1), ('c', ROW4, 0, 1);"
		  =~ s/ROW(\d)/$table eq 'columned' ? $1 : "'{\"n\": $1}'"/ger,
		$level && "BEGIN ISOLATION LEVEL $level; $before",
		'BEGIN; ' . one(@held),
		one(@waits),
		one('', '', "UPDATE T SET extra = 7 WHERE id = 'a';", "UPDATE T SET SET WHERE id = 'a';"),
		one('COMMIT;', 'COMMIT;', 'ROLLBACK;'),
		one("SELECT * FROM cas_get('T', 'a');", "SELECT cas_merge('T', 'a', '{\"n\": 15}');", "SELECT * FROM cas_lock('T', '{a,z}');"));
	my ($setup, $begin, $hold, $wait, $meanwhile, $commit, $then) = @scene;
	my $late = one(0, 0, 0, 1);    # the holder ends before
	my %said;
	my $say = sub {
		my ($what, @answers) = @_;
		push @{ $said{ $databases[$_] } }, "$what\n$answers[$_]" foreach 0 .. $#databases;
	};

	# The sequence's versions have six digits, and are greater than those of
	# the scene before: a sequence that is set back is refused.
	my $next = 100_000 + 20 * $scenes;
	my ($error) = ask('observer', "$setup
		BEGIN; SET LOCAL session_replication_role = replica; UPDATE $table SET v = 1; COMMIT;
		SELECT WHERE setval('sequenced_v_seq', $next) IS NULL;");
	die $error if $error;

	$say->($begin, ask('waiter', $begin)) if $begin;
	$say->($hold, ask('holder', $hold));
	$say->($commit, ask('holder', $commit)) if $late;
	$session{$_}{waiter}->send($wait) foreach @databases;
	my @waits = map { waits($_) } @databases;
	$say->($wait, map { $_ ? "(waits)\n" : "(does not wait)\n" } @waits);
	if (!$late)
	{
		$say->($meanwhile, ask('holder', $meanwhile)) if $meanwhile && $waits[0] && $waits[1];
		$say->($commit, ask('holder', $commit));
	}
	$say->('(waited)', map { $session{$_}{waiter}->answer } @databases);
	$say->($then, ask('waiter', $then));
	$say->('COMMIT;', ask('waiter', 'COMMIT;'));
	$say->("TABLE $table;", ask('observer', "SELECT * FROM $table ORDER BY id;"));

	my @all = map { comparable(join '', @{ $said{$_} }) } @databases;
	$scenes++;
	$waited++ if $waits[0];
	$failed++ if $all[0] =~ /ERROR/;
	if ($all[0] ne $all[1])
	{
		$different++;
		fail("scene $scenes: both paths say the same");
		diag("-- $level\n$all[0]\n-- by SPI:\n$all[1]");
	}
}
is($different, 0, 'the two paths are the same');
note("$scenes scenes, in $waited one waits, in $failed is an error");
cmp_ok($waited, '>', $scenes / 5, 'many wait');
cmp_ok($failed, '>', $scenes / 10, 'not all goes well');

foreach my $database (@databases)
{
	$_->stop foreach values %{ $session{$database} };
}
unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|signal 11| XX000 /, 'no crash');

done_testing();
