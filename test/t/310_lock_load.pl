# Thirty-two sessions take random overlapping sets of locks and move money
# under them, some by plain UPDATE and some by cas_txn: no deadlock, no error,
# and whoever looks sees the same sum at every moment.
#
# Each has 100 turns, 2,000 with PG_CAS_LONG=1.
use strict;
use warnings;

use PgCas;
use PostgreSQL::Test::Utils;
use Test::More;

my $turns = long_or(100, 2000);
my $node = pg_cas_node('load', 'max_connections = 60', 'fsync = off',
	'log_min_error_statement = panic');

$node->safe_psql('postgres', q{
	CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);
	INSERT INTO account SELECT i, 100 FROM generate_series(1, 20) AS i;
	SELECT cas_enable('account');
	CREATE FUNCTION move(account jsonb, amount jsonb) RETURNS jsonb LANGUAGE sql AS
		'SELECT jsonb_build_object(''balance'', (account->>''balance'')::int + amount::int)';
	-- one resource for two accounts, so that there is something to collide on
	SELECT lock_protect('account', 'account:{id}');
	CREATE TABLE seen (sum bigint);
});

my %script = (
	lock => q{\set a random(1, 20)
\set b 1 + (:a + random(0, 18)) % 20
\set c random(1, 20)
\set d random(1, 20)
BEGIN;
SELECT lock_acquire(ARRAY['account:' || :b, 'account:' || :a], ARRAY['account:' || :c, 'account:' || :d]);
UPDATE account SET balance = balance - 1 WHERE id = :a;
UPDATE account SET balance = balance + 1 WHERE id = :b;
COMMIT;
},
	txn => q{\set a random(1, 20)
\set b 1 + (:a + random(0, 18)) % 20
BEGIN;
SELECT lock_acquire(ARRAY['account:' || :b, 'account:' || :a]);
SELECT cas_txn('[]', jsonb_build_array(
	jsonb_build_object('op', 'apply', 'table', 'account', 'id', :a::text, 'fn', 'move(jsonb,jsonb)', 'args', -1),
	jsonb_build_object('op', 'apply', 'table', 'account', 'id', :b::text, 'fn', 'move(jsonb,jsonb)', 'args', 1)));
COMMIT;
},
	new => q{\set a random(1, 1000)
\set b random(1, 1000)
BEGIN;
SELECT lock_acquire(ARRAY['new:' || :a, 'new:' || :b], ARRAY['new:' || (:a + 1)]);
COMMIT;
},
	reap => q{SELECT cas_internal.lock_reap(1000);
SELECT pg_sleep(0.05);
},
	look => q{INSERT INTO seen SELECT sum(balance) FROM account;
SELECT pg_sleep(0.01);
});
my @files;
foreach my $name (sort keys %script)
{
	my $file = $node->basedir . "/$name.sql";
	append_to_file($file, $script{$name});
	push @files, '-f', $name eq 'lock' ? "$file\@10" : "$file\@3";
}

my ($out, $err);
my $ok = IPC::Run::run(
	[ 'pgbench', '-n', '-c', '32', '-j', '2', '-t', $turns, @files,
		$node->connstr('postgres') ], '<', \undef, '>', \$out, '2>', \$err);
ok($ok, 'no session had an error') or diag($err);
unlike($err, qr/ERROR|deadlock/, 'no deadlock');
like($out, qr/number of failed transactions: 0 /, 'no transaction failed');
is($node->safe_psql('postgres', 'SELECT DISTINCT sum FROM seen'), '2000',
	'the sum was the same at every moment');
is($node->safe_psql('postgres', 'SELECT count(*) FROM lock_holders'), '0',
	'nothing is left locked');
is( $node->safe_psql('postgres', q{
		SELECT count(*) - count(DISTINCT name) FROM cas_internal.lock_name}), '0',
	'no name is there twice');
is( $node->safe_psql('postgres', q{
		SELECT sum(resource_version - 1) % 2 = 0 FROM account}), 't',
	'every move wrote both of its accounts');
note($out);

$node->stop;
done_testing();
