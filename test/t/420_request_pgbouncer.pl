# Claim: behind pgbouncer, in transaction and in session mode, a transaction
# that a request has left open swallows what the next one writes on the same
# client connection; with claims the next one's first statement ends it, and
# nothing is acknowledged that is not there.
use strict;
use warnings;

use PgCasNeeds 'pgbouncer';
use PgCas;
use PgCasBouncer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO counter VALUES (1, 1);
SELECT cas_enable('counter');
SQL

# The counter, past the pooler, and whether anything is left open.
sub state
{
	return $node->safe_psql('postgres', <<'SQL');
SELECT n, (SELECT count(*) FROM pg_stat_activity
	WHERE state LIKE 'idle in transaction%') FROM counter
SQL
}

# An application's pool has one connection to pgbouncer, on which requests
# run one after the other.  Answers with what it is told.
sub connection
{
	my ($bouncer, @requests) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', join("\n", @requests),
		connstr => $bouncer->connstr, stdout => \$out, stderr => \$err,
		on_error_stop => 0);
	return ($out, $err);
}

my $bump = 'UPDATE counter SET n = n + 1 RETURNING n;';

# The hook on check-out: two claims in two statements.
sub check_out
{
	my ($token) = @_;
	return "SELECT request_claim('check-out'); SELECT request_claim('$token');";
}

foreach my $mode ('transaction', 'session')
{
	my $bouncer = PgCasBouncer->start($node, $mode, 'server_reset_query = DISCARD ALL');
	my ($out, $err);

	# The failure: the request is cancelled after BEGIN, the next one bumps.
	my $n = (split /\|/, &state)[0];
	($out, $err) = connection($bouncer, 'BEGIN; SELECT pg_sleep(0.01);', $bump);
	is($out, "\n" . ($n + 1), "$mode: a bump is acknowledged");
	is($err, '', '... without a complaint');
	is(&state, "$n|0", '... and lost');

	# The hook, though the request that was cancelled has not claimed anything
	# in its transaction.
	($out, $err) = connection($bouncer, check_out('a'), 'BEGIN; SELECT pg_sleep(0.01);',
		check_out('b'), $bump);
	like($err, qr/FATAL:  the open transaction belongs to another request/,
		"$mode, claims on check-out: the next one is told");
	unlike($out, qr/\d/, '... before it bumps');
	is(&state, "$n|0", '... nothing is there, nothing is open');

	# Its second try gets another connection.
	($out, $err) = connection($bouncer, check_out('b'), $bump);
	is($err, '', '... its second try succeeds');
	$n++;
	is(&state, "$n|0", '... and stays');

	# SET LOCAL, in each transaction; a plain write makes the claim.
	($out, $err) = connection($bouncer,
		"BEGIN; SET LOCAL pg_cas.request = 'a'; $bump",
		"BEGIN; SET LOCAL pg_cas.request = 'b'; $bump COMMIT;");
	like($err, qr/FATAL:  the open transaction belongs to another request/,
		"$mode, SET LOCAL: the next one's first write is told");
	is(&state, "$n|0", '... neither is there');

	# require_autocommit: no change in the client at all.
	my $call = q{SELECT cas_merge('counter', 1, '{"n": 100}');};
	($out, $err) = connection($bouncer,
		"BEGIN; SET LOCAL pg_cas.require_autocommit = on; SELECT pg_sleep(0.01);",
		$call);
	like($err, qr/cas_merge\(\) must not run inside a transaction block/,
		"$mode, require_autocommit: a call in what was left open is refused");
	is(&state, "$n|0", '... and nothing is there');

	# A session's setting does not belong behind a transaction pooler: it stays
	# with the server's connection.
	connection($bouncer, q{SET pg_cas.request = 'a';});
	($out, $err) = connection($bouncer, 'SHOW pg_cas.request;');
	is($out, $mode eq 'session' ? '' : 'a', "$mode: SET, seen by the next client");
	connection($bouncer, 'RESET pg_cas.request;');

	# A client that dies inside a transaction is pgbouncer's own affair.
	($out, $err) = connection($bouncer, "BEGIN; $bump");
	is(&state, "$n|0", "$mode: a client that goes away is rolled back");

	$bouncer->stop;
}

done_testing();
