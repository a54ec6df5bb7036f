# Claim: whatever calls of cas_txn run at once, with overlapping sets of rows
# of several tables in any order, present and missing, and whatever else is
# written beside them - cas_create, cas_delete, cas_lock, plain UPDATE
# and INSERT; renames alone can deadlock -, none of them is ever in a deadlock, no error reaches a
# client but the contract's, and whoever looks, at any moment, finds each sum
# and each membership right, also when sessions are killed.
#
# Sixteen sessions, of whom ten are killed, one after another, with 300
# successful calls between; PG_CAS_LONG=1: 32 sessions, 100 kills.
use strict;
use warnings;

use IPC::Run;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($sessions, $kills) = (long_or(16, 32), long_or(10, 100));
seed(1);
my $node = pg_cas_node('main',
	q{max_connections = 60
log_line_prefix = '%m [%p] %q%a %e '
log_min_messages = warning
deadlock_timeout = 200ms
});

# Money moves between accounts, members between repositories, tokens between
# slots.  The ledger says what else has come and gone.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE account (id int PRIMARY KEY, doc jsonb NOT NULL);
CREATE TABLE repository (id text PRIMARY KEY, members jsonb NOT NULL);
CREATE TABLE member (id int PRIMARY KEY, repository text NOT NULL);
CREATE TABLE slot (id int PRIMARY KEY, n int);
CREATE TABLE ledger (what text, delta int);
SELECT cas_enable('account', payload_column => 'doc');
SELECT cas_enable(t) FROM unnest('{repository,member,slot}'::regclass[]) t;
INSERT INTO account SELECT i, '{"balance": 1000}' FROM generate_series(1, 24) i;
INSERT INTO member SELECT i, 'repo ' || i % 6 FROM generate_series(1, 30) i;
INSERT INTO repository SELECT repository, jsonb_object_agg(id, true) FROM member GROUP BY 1;
INSERT INTO slot SELECT i * 2 FROM generate_series(1, 10) i;
CREATE SEQUENCE looks;
CREATE SEQUENCE transfers;
CREATE SEQUENCE moves;
CREATE SEQUENCE tokens;

CREATE FUNCTION add(payload jsonb, args jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
	$$SELECT jsonb_set(payload, '{balance}', to_jsonb((payload ->> 'balance')::int + (args ->> 'by')::int))$$;

-- Some of the numbers to n, in a random order.
CREATE FUNCTION pick(n int, how_many int) RETURNS SETOF int LANGUAGE sql AS
	$$SELECT i FROM generate_series(1, n) i ORDER BY random() LIMIT how_many$$;
CREATE FUNCTION shuffled(list jsonb) RETURNS jsonb LANGUAGE sql AS
	$$SELECT coalesce(jsonb_agg(e ORDER BY random()), '[]') FROM jsonb_array_elements(list) e$$;

-- A transfer among some accounts: the last pays what the others get.  It may
-- compare versions that it has read, or names that are missing.
CREATE FUNCTION transfer(OUT c jsonb, OUT s jsonb, OUT f jsonb) LANGUAGE plpgsql AS $$
DECLARE
	ids int[] := ARRAY(SELECT pick(24, 2 + (random() * 4)::int));
	way float := random();
BEGIN
	SELECT jsonb_agg(jsonb_build_object('op', 'apply', 'table', 'account', 'id', id,
			'fn', 'add(jsonb, jsonb)', 'args', jsonb_build_object('by',
				CASE n WHEN 1 THEN 1 - cardinality(ids) ELSE 1 END)) ORDER BY random()),
		jsonb_agg(jsonb_build_object('op', 'get', 'table', 'account', 'id', id) ORDER BY random())
		FROM unnest(ids) WITH ORDINALITY AS i (id, n) INTO s, f;
	c := '[]';
	IF way < 0.3 THEN
		SELECT jsonb_agg(jsonb_build_object('table', 'account', 'id', id, 'version', resource_version) ORDER BY random())
			FROM account WHERE id = ANY (ids) INTO c;
	ELSIF way < 0.6 THEN
		SELECT jsonb_agg(jsonb_build_object('table', 'account', 'id', 100 + id, 'absent', true))
			FROM pick(12, 3) id INTO c;
	END IF;
END $$;

-- A member moves from its repository to another, and pays for it.
CREATE FUNCTION move(OUT c jsonb, OUT s jsonb, OUT f jsonb) LANGUAGE plpgsql AS $$
DECLARE
	who member;
	target text := 'repo ' || (random() * 5)::int;
	chosen int := 1 + (random() * 29)::int;
	fee jsonb := (SELECT t.s FROM transfer() t);
BEGIN
	SELECT * FROM member WHERE id = chosen INTO who;
	c := shuffled(jsonb_build_array(
		jsonb_build_object('table', 'member', 'id', who.id, 'version', who.resource_version),
		jsonb_build_object('table', 'repository', 'id', target, 'exists', true)));
	s := shuffled(fee || jsonb_build_object('op', 'update', 'table', 'member', 'id', who.id,
		'payload', jsonb_build_object('repository', target)));
	IF target <> who.repository THEN
		s := shuffled(s
			|| jsonb_build_object('op', 'merge', 'table', 'repository', 'id', who.repository,
				'patch', jsonb_build_object('members', jsonb_build_object(who.id, NULL)))
			|| jsonb_build_object('op', 'merge', 'table', 'repository', 'id', target,
				'patch', jsonb_build_object('members', jsonb_build_object(who.id, true))));
	END IF;
	f := jsonb_build_array(jsonb_build_object('op', 'get', 'table', 'member', 'id', who.id));
END $$;

-- Tokens go from slots that are taken to free ones, in one of two ways, or
-- stay where they are and are made anew.
CREATE FUNCTION token(OUT c jsonb, OUT s jsonb, OUT f jsonb) LANGUAGE plpgsql AS $$
DECLARE
	old slot;
	target int;
	way float := random();
BEGIN
	SELECT * FROM slot ORDER BY random() LIMIT 1 INTO old;
	SELECT id FROM pick(20, 20) id WHERE id NOT IN (SELECT slot.id FROM slot) LIMIT 1 INTO target;
	IF way < 0.2 OR target IS NULL THEN
		target := old.id;
	END IF;
	c := jsonb_build_array(jsonb_build_object('table', 'slot', 'id', old.id, 'version', old.resource_version));
	IF target <> old.id THEN
		c := shuffled(c || jsonb_build_object('table', 'slot', 'id', target, 'absent', true));
	END IF;
	s := jsonb_build_array(jsonb_build_object('op', 'delete', 'table', 'slot', 'id', old.id),
		jsonb_build_object('op', CASE WHEN way < 0.6 THEN 'create' ELSE 'put' END,
			'table', 'slot', 'id', target, 'payload', '{}'::jsonb));
	f := jsonb_build_array(jsonb_build_object('op', 'get', 'table', 'slot', 'id', target));
END $$;

-- What must be true in every snapshot.
CREATE FUNCTION wrong() RETURNS text LANGUAGE sql AS $$
	SELECT nullif(concat_ws(', ',
		CASE WHEN (SELECT sum((doc ->> 'balance')::int) FROM account)
			<> 24000 + (SELECT coalesce(sum(delta), 0) FROM ledger WHERE what = 'account') THEN 'balances' END,
		CASE WHEN (SELECT count(*) FROM slot)
			<> 10 + (SELECT coalesce(sum(delta), 0) FROM ledger WHERE what = 'slot') THEN 'slots' END,
		CASE WHEN (SELECT array_agg((id, name) ORDER BY id, name)
				FROM (SELECT m::int AS id, r.id AS name FROM repository r, jsonb_object_keys(members) m) AS _)
			<> (SELECT array_agg((id, repository) ORDER BY id) FROM member) THEN 'members' END), '')
$$;
CREATE FUNCTION look() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	what text := wrong();
BEGIN
	PERFORM nextval('looks');
	IF what IS NOT NULL THEN
		RAISE EXCEPTION 'wrong: %', what USING ERRCODE = 'XX001';
	END IF;
END $$;
SQL

my $txn = sub {
	"SELECT CASE WHEN (cas_txn(c, s, f) ->> 'succeeded')::boolean"
	  . " THEN nextval('$_[1]') END FROM $_[0]() AS r;\n";
};
my %scripts = (
	transfer => $txn->('transfer', 'transfers'),
	move => $txn->('move', 'moves'),
	token => $txn->('token', 'tokens'),

	# cas_lock first, then cas_txn on what it has locked
	lock => <<'PGBENCH',
\set a random(1, 8)
\set b random(9, 16)
\set c random(17, 24)
BEGIN;
SELECT count(*) FROM cas_lock('account', ARRAY[:c, :a, :b]);
SELECT cas_txn('[]', format('[{"op": "apply", "table": "account", "id": %s, "fn": "add(jsonb, jsonb)", "args": {"by": 5}},
	{"op": "apply", "table": "account", "id": %s, "fn": "add(jsonb, jsonb)", "args": {"by": -5}}]', :b, :a)::jsonb);
COMMIT;
PGBENCH

	# what is not cas_txn, one row at a time
	single => <<'PGBENCH',
\set k random(1, 20)
\set j random(1, 20)
\set a random(1, 24)
WITH r AS MATERIALIZED (SELECT * FROM cas_try_create('slot', :k, '{}'))
INSERT INTO ledger SELECT 'slot', 1 FROM r WHERE outcome = 'created';
WITH r AS MATERIALIZED (SELECT * FROM slot, cas_try_delete('slot', slot.id, slot.resource_version) AS r (outcome) WHERE slot.id = :j)
INSERT INTO ledger SELECT 'slot', -1 FROM r WHERE outcome = 'deleted';
WITH r AS (INSERT INTO slot VALUES (:j) ON CONFLICT DO NOTHING RETURNING 1)
INSERT INTO ledger SELECT 'slot', 1 FROM r;
WITH r AS (UPDATE account SET doc = add(doc, '{"by": 7}') WHERE id = :a RETURNING 1)
INSERT INTO ledger SELECT 'account', 7 FROM r;
WITH r AS (DELETE FROM slot WHERE id = :k AND (SELECT count(*) FROM slot) > 10 RETURNING 1)
INSERT INTO ledger SELECT 'slot', -1 FROM r;
\sleep 2 ms
PGBENCH
	look => "SELECT look();\n\\sleep 2 ms\n",
);
my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/$_", $scripts{$_}) foreach keys %scripts;

# Every session is a program with a connection, started again when killed.  A
# quarter of them run at REPEATABLE READ or SERIALIZABLE, and say so in their
# names.
my @kinds = qw(transfer move token transfer single lock token move);
my @clients = map {
	{
		script => $kinds[ $_ % @kinds ],
		level => $_ % 16 == 8 || $_ % 16 == 5 ? 'repeatable read'
		: $_ % 16 == 9 || $_ % 16 == 2 ? 'serializable'
		: 'read committed',
	}
} 0 .. $sessions - 1;
push @clients, { script => 'look', level => 'read committed' };

sub start_client
{
	my ($client) = @_;

	local $ENV{PGAPPNAME} = join ' ', 'hammer', $client->{script},
	  $client->{level} eq 'read committed' ? 'now' : 'then';
	local $ENV{PGOPTIONS} =
	  "-c default_transaction_isolation=" . ($client->{level} =~ s/ /\\ /r);
	$client->{output} = '';
	$client->{run} = IPC::Run::start(
		[   'pgbench', '-n', '-c', '1', '-T', '600', '--max-tries=0',
			'-f', "$dir/$client->{script}",
			'-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', \undef, '>', \$client->{output}, '2>', \$client->{output});
}

# Let so many more calls succeed, some of each kind, and as many as a twentieth
# of them be looked at.
sub more_calls
{
	my ($n) = @_;
	my $count = q{(SELECT sum(coalesce(last_value, 0)) FROM pg_sequences
		WHERE sequencename IN ('transfers', 'moves', 'tokens'))};
	my ($calls, $looks) = split /\|/, $node->safe_psql('postgres',
		"SELECT coalesce($count, 0), last_value FROM looks");

	wait_until("$n calls", sub {
		foreach my $client (@clients)
		{
			IPC::Run::pump_nb($client->{run}) if $client->{run}->pumpable;
			next if $client->{run}->pumpable;
			$client->{run}->finish;
			start_client($client);
		}
		return $node->safe_psql('postgres', qq{
			SELECT $count >= $calls + $n AND looks.last_value >= $looks + $n / 20
				AND transfers.is_called AND moves.is_called AND tokens.is_called
			FROM looks, transfers, moves, tokens}) eq 't';
	});
	return;
}

start_client($_) foreach @clients;
foreach my $kill (1 .. $kills)
{
	more_calls(300);
	if ($kill % 2)
	{
		$clients[ rand $sessions ]->{run}->signal('KILL');
	}
	else
	{
		$node->poll_query_until('postgres',
			q{SELECT count(pg_terminate_backend(pid)) = 1 FROM (
				SELECT pid FROM pg_stat_activity
				WHERE application_name ~ '^hammer [^l]' ORDER BY random() LIMIT 1) AS one})
		  or die 'nobody to kill';
	}
}
more_calls(300);
foreach my $client (@clients)
{
	$client->{run}->signal('KILL');
	$client->{run}->finish;
}
$node->poll_query_until('postgres',
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ '^hammer'});

is($node->safe_psql('postgres', 'SELECT wrong()'), '', 'all is right at the end');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}),
	0, 'no lock is left');
my $done = $node->safe_psql('postgres',
	q{SELECT string_agg(sequencename || ' ' || last_value, ', ' ORDER BY sequencename)
	FROM pg_sequences WHERE sequencename IN ('looks', 'transfers', 'moves', 'tokens')});
note("$kills sessions killed; $done; ledger: "
	  . $node->safe_psql('postgres',
		q{SELECT string_agg(concat_ws(' ', what, delta, n), ', ')
		FROM (SELECT what, delta, count(*) AS n FROM ledger GROUP BY 1, 2 ORDER BY 1, 2) AS _}));
like($done, qr/^looks \d+, moves \d+, tokens \d+, transfers \d+$/, 'all kinds were done');

# Every error of any session, by the server's log.  A plain INSERT that slips
# in is 23505; the rest comes of the killing.
my %errors;
foreach (split /\n/, slurp_file($node->logfile))
{
	$errors{"$3 in $1 $2"}++ if /\bhammer (\w+) (\w+) (\w{5}) (?:ERROR|FATAL|PANIC):/;
}
note("$_: $errors{$_} times") foreach sort keys %errors;
is( join(', ', grep {
		!/^(57P01|57P02|57P03|08006) / && !/^40001 in \w+ then/ && !/^23505 in token /
	} sort keys %errors),
	'', 'no deadlock, nothing wrong, no error outside the contract');
unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|signal 11/, 'no crash');

done_testing();
