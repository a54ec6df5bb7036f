# Claim: sessions whose swaps go past the executor (direct.c), sessions whose
# swaps go through SQL, and plain UPDATEs, hammering the same few rows at all
# three isolation levels, lose nothing between them.  Every version of a row was
# made by one winner and taken by one winner; counters have counted every win;
# what a client merged last is there; under SERIALIZABLE nobody sees two rows
# in a state that no order of transactions has.  No error reaches a client but
# 40001.
#
# Each session has 600 turns, ten times as many with PG_CAS_LONG=1.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $turns = long_or(600, 6000);
my $node = pg_cas_node('main', <<'CONF');
max_connections = 50
fsync = off
log_line_prefix = '%m [%p] %q%a %e '
log_min_messages = warning
CONF

# The counters are always there; one table has an index that changes with
# them, and so no HOT updates.  Lives come and go, and their versions are a
# sequence's.  Of a pair, one is always on duty.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE counter (id int PRIMARY KEY, doc jsonb, v bigint DEFAULT 1);
SELECT cas_enable('counter', 'v', payload_column => 'doc', version_path => '{version}');
INSERT INTO counter SELECT id, '{"n": 0}' FROM generate_series(1, 3) AS id;
CREATE TABLE indexed (LIKE counter INCLUDING ALL);
CREATE INDEX ON indexed ((doc ->> 'n'));
CREATE INDEX ON indexed USING gin (doc);
SELECT cas_enable('indexed', 'v', payload_column => 'doc');
INSERT INTO indexed SELECT id, '{"n": 0}' FROM generate_series(1, 3) AS id;
CREATE TABLE columned (id int PRIMARY KEY, n int DEFAULT 0, who int, beat int DEFAULT 0, v bigint DEFAULT 1);
CREATE INDEX ON columned (n);
SELECT cas_enable('columned', 'v', ignore_columns => '{beat}', unversioned => 'reject');
INSERT INTO columned SELECT generate_series(1, 3);
CREATE TABLE win (tab text, id int, delta int, v bigint, who int, seq int);

CREATE TABLE life (id text PRIMARY KEY, doc jsonb, v bigint DEFAULT 1);
SELECT cas_enable('life', 'v', payload_column => 'doc', writers => 'echo', versions => 'table');
CREATE TABLE made (id text, v bigint);
CREATE TABLE taken (id text, v bigint);

CREATE TABLE duty (id int PRIMARY KEY, doc jsonb, v bigint DEFAULT 1);
SELECT cas_enable('duty', 'v', payload_column => 'doc');
INSERT INTO duty SELECT id, '{"on": true}' FROM generate_series(1, 6) AS id;
CREATE SEQUENCE nobody_on_duty;
CREATE SEQUENCE off_duty;

CREATE FUNCTION add(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
	$$SELECT p || jsonb_build_object('n', (p ->> 'n')::int + (args #>> '{}')::int)$$;

-- Count, in some way.
CREATE FUNCTION count_up(me int, how_often int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	tab text := (ARRAY['counter', 'indexed', 'columned'])[1 + floor(random() * 3)];
	key int := 1 + floor(random() * 3);
	other int := 1 + key % 3;
	way float := random();
	now cas_row;
	res cas_result;
	txn jsonb;
	new bigint;
BEGIN
	IF way < 0.4 THEN
		SELECT * INTO now FROM cas_get(tab, key);
		IF way < 0.1 THEN
			BEGIN
				new = cas_update(tab, key, now.version, now.payload - 'beat' || jsonb_build_object('n', (now.payload ->> 'n')::int + 1));
			EXCEPTION WHEN SQLSTATE 'PT409' THEN
				RETURN;
			END;
		ELSIF way < 0.3 THEN
			res = cas_try_update(tab, key, now.version, now.payload - 'beat' || jsonb_build_object('n', (now.payload ->> 'n')::int + 1));
		ELSE
			res = cas_try_patch(tab, key, now.version, jsonb_build_object('n', (now.payload ->> 'n')::int + 1));
		END IF;
		IF res.outcome = 'conflict' AND res.version <= now.version AND current_setting('transaction_isolation') <> 'read committed' THEN
			RAISE 'a conflict with the past: % %', now, res;
		ELSIF res.outcome = 'updated' THEN
			new = res.version;
		END IF;
		IF new IS NOT NULL THEN
			INSERT INTO win VALUES (tab, key, 1, new);
		END IF;
	ELSIF way < 0.6 THEN
		INSERT INTO win VALUES (tab, key, 1, cas_apply(tab, key, 'add(jsonb, jsonb)', '1'));
	ELSIF way < 0.75 THEN
		new = cas_merge(tab, key, CASE WHEN tab = 'columned' THEN jsonb_build_object('who', me * 1000000 + how_often)
			ELSE jsonb_build_object('c' || me, how_often) END);
		INSERT INTO win VALUES (tab, key, 0, new, me, how_often);
	ELSIF way < 0.85 AND tab = 'columned' THEN
		UPDATE columned SET beat = beat + 1 WHERE id = key;
	ELSIF way < 0.85 THEN
		-- a rollback counts for nothing
		BEGIN
			PERFORM cas_apply(tab, key, 'add(jsonb, jsonb)', '100');
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	ELSE
		-- two rows in one call, in any order
		IF random() < 0.5 THEN
			other = key;
			key = 1 + key % 3;
		END IF;
		txn = cas_txn('[]', jsonb_build_array(
			jsonb_build_object('op', 'apply', 'table', tab, 'id', key, 'fn', 'add(jsonb, jsonb)', 'args', 5),
			jsonb_build_object('op', 'apply', 'table', tab, 'id', other, 'fn', 'add(jsonb, jsonb)', 'args', -5)));
		INSERT INTO win VALUES (tab, key, 5, (txn #>> '{results,0,version}')::bigint),
			(tab, other, -5, (txn #>> '{results,1,version}')::bigint);
	END IF;
END $$;

-- Come and go.  Rows that we lock ourselves are taken at their version.
CREATE FUNCTION live() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	key text := chr(97 + floor(random() * 4)::int);
	new_key text := chr(97 + floor(random() * 4)::int);
	way float := random();
	now cas_row;
	res cas_result;
BEGIN
	SELECT * INTO now FROM cas_get('life', key);
	IF now.version IS NULL THEN
		res = cas_try_create('life', key, '{"n": 0}');
		IF res.outcome = 'created' THEN
			INSERT INTO made VALUES (key, res.version);
		END IF;
		RETURN;
	END IF;
	IF way < 0.25 THEN
		res = cas_try_delete('life', key, now.version);
	ELSIF way < 0.5 THEN
		res = cas_try_rename('life', key, now.version, new_key);
	ELSIF way < 0.75 THEN
		res = cas_try_update('life', key, now.version, jsonb_build_object('n', random()));
	ELSE
		SELECT * INTO now FROM cas_lock('life', ARRAY[key]);
		IF now.version IS NULL THEN
			RETURN;
		END IF;
		res.version = cas_merge('life', key, jsonb_build_object('n', random()));
		res.outcome = 'updated';
	END IF;
	IF res.outcome IN ('deleted', 'renamed', 'updated') THEN
		INSERT INTO taken VALUES (key, now.version);
	END IF;
	IF res.outcome IN ('renamed', 'updated') THEN
		INSERT INTO made VALUES (CASE res.outcome WHEN 'renamed' THEN new_key ELSE key END, res.version);
	END IF;
END $$;

-- Leave, if the other one of the pair is there; or come back.  It needs
-- SERIALIZABLE.
CREATE FUNCTION leave() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	me int := 1 + floor(random() * 6);
	other int := CASE me % 2 WHEN 1 THEN me + 1 ELSE me - 1 END;
	mine cas_row := cas_get('duty', me);
	others cas_row := cas_get('duty', other);
BEGIN
	IF NOT (mine.payload -> 'on')::bool AND NOT (others.payload -> 'on')::bool THEN
		PERFORM nextval('nobody_on_duty');
	ELSIF NOT (mine.payload -> 'on')::bool THEN
		PERFORM cas_update('duty', me, mine.version, '{"on": true}');
	ELSIF (others.payload -> 'on')::bool THEN
		PERFORM nextval('off_duty');
		PERFORM cas_update('duty', me, mine.version, '{"on": false}');
	END IF;
END $$;
SQL

my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/swap", <<'PGBENCH');
\set life random(1, 3)
\set turn :turn + 1
\if :life = 1
SELECT live();
\else
SELECT count_up(:me, :turn);
\endif
PGBENCH
append_to_file("$dir/leave", "SELECT leave();\n");
append_to_file("$dir/plain", <<'PGBENCH');
\set id random(1, 3)
WITH w AS (
	UPDATE counter SET doc = jsonb_set(doc, '{n}', to_jsonb((doc ->> 'n')::int + 1))
	WHERE id = :id RETURNING v)
INSERT INTO win SELECT 'counter', :id, 1, v FROM w;
\set id random(1, 3)
WITH w AS (
	UPDATE columned SET n = n + 1, v = v + 1 WHERE id = :id RETURNING v)
INSERT INTO win SELECT 'columned', :id, 1, v FROM w;
\sleep 2 ms
PGBENCH

my @runs;
my $clients = 0;

sub hammer
{
	my ($script, $level, $direct) = @_;
	my %run = (name => "$script at $level, direct_path $direct", output => '');

	$clients++;
	local $ENV{PGAPPNAME} = 'hammer';
	local $ENV{PGOPTIONS} = "-c pg_cas.direct_path=$direct -c default_transaction_isolation="
	  . ($level =~ s/ /\\ /r);
	$run{run} = IPC::Run::start(
		[   'pgbench', '-n', '-c', '1', '-t', $turns, '--max-tries=1000000',
			'-D', "me=$clients", '-D', 'turn=0', '-f', "$dir/$script",
			'-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \undef, '>', \$run{output}, '2>', \$run{output});
	push @runs, \%run;
}

foreach my $direct ('on', 'off')
{
	hammer('swap', $_, $direct)
	  foreach ('read committed') x 2, 'repeatable read', 'serializable';
	hammer('leave', 'serializable', $direct) foreach 1, 2;
}
hammer('plain', 'read committed', 'on');
foreach my $run (@runs)
{
	ok($run->{run}->finish, $run->{name}) or diag($run->{output});
}

# What the counters say, and what each client has merged last.  A version that
# two made, or none, would show.
foreach my $table ('counter', 'indexed', 'columned')
{
	my $n = $table eq 'columned' ? 'c.n' : "(c.doc ->> 'n')::int";
	my $merged = $table eq 'columned'
	  ? q{c.who IS NOT DISTINCT FROM w.last_merged}
	  : q{s.clients = (SELECT jsonb_object_agg(key, value) FROM jsonb_each(c.doc) WHERE key LIKE 'c%')};
	is( $node->safe_psql('postgres', qq{
		SELECT c.id, v = 1 + wins AND versions = wins AND least = 2 AND greatest = v,
			$n = sum, $merged
		FROM $table AS c, LATERAL (
			SELECT count(*) AS wins, count(DISTINCT v) AS versions, min(v) AS least,
				max(v) AS greatest, sum(delta),
				(array_agg(who * 1000000 + seq ORDER BY v DESC) FILTER (WHERE who IS NOT NULL))[1] AS last_merged
			FROM win WHERE tab = '$table' AND id = c.id) AS w, LATERAL (
			SELECT jsonb_object_agg('c' || who, seq) AS clients
			FROM (SELECT who, max(seq) AS seq FROM win WHERE tab = '$table' AND id = c.id AND who IS NOT NULL GROUP BY who) AS s) AS s
		ORDER BY 1}),
		"1|t|t|t\n2|t|t|t\n3|t|t|t", "$table: every version has its winner, every win is counted");
}
is($node->safe_psql('postgres',
		q{SELECT count(*) FROM columned, LATERAL cas_get('columned', id) AS r WHERE r.version <> v
		UNION ALL SELECT count(*) FROM counter WHERE (doc ->> 'version')::bigint <> v}),
	"0\n0", 'the version stands in the document');

is($node->safe_psql('postgres', q{
		(SELECT * FROM made EXCEPT ALL SELECT * FROM taken)
		EXCEPT ALL SELECT id, v FROM life}), '', 'lives: what is not there was taken');
is($node->safe_psql('postgres', q{
		SELECT * FROM taken EXCEPT ALL SELECT * FROM made}), '', 'lives: nothing was taken twice');
is($node->safe_psql('postgres', q{
		SELECT v FROM made GROUP BY v HAVING count(*) > 1}), '', 'lives: no version was made twice');
is($node->safe_psql('postgres', q{
		SELECT id, v FROM life EXCEPT ALL (SELECT * FROM made EXCEPT ALL SELECT * FROM taken)}),
	'', 'lives: what is there was made');

is($node->safe_psql('postgres', 'SELECT is_called FROM nobody_on_duty'), 'f', 'somebody was always on duty');
cmp_ok($node->safe_psql('postgres', 'SELECT last_value FROM off_duty'), '>', 10, 'others had left');
note($node->safe_psql('postgres', q{SELECT count(*) || ' wins' FROM win}), ', ',
	$node->safe_psql('postgres', q{SELECT count(*) || ' lives' FROM made}));

# And the indexes agree with what the tables have.
if (-e $node->config_data('--sharedir') . '/extension/amcheck.control')
{
	$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
	is($node->safe_psql('postgres', q{
		SELECT count(bt_index_check(indexrelid, true)) FROM pg_index AS i
		JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_am AS a ON a.oid = relam
		WHERE indrelid::regclass::text IN ('counter', 'indexed', 'columned', 'life', 'duty')
			AND amname = 'btree'}), '7', 'the indexes are sound');
}

my %errors;
foreach (split /\n/, slurp_file($node->logfile))
{
	$errors{$1}++ if /\bhammer (\w{5}) (ERROR|FATAL|PANIC):/;
}
note("$_: $errors{$_} times") foreach sort keys %errors;
is(join(' ', grep { $_ ne '40001' } sort keys %errors), '', 'no error outside the contract');

done_testing();
