# Claim: in psycopg and SQLAlchemy a transaction that is left open, the way
# their users do it, loses what was acknowledged or commits what was cancelled,
# where the pool does not see it; with claims on check-out it does not.
use strict;
use warnings;

use IPC::Run;
use PgCasNeeds 'python';
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO counter VALUES (1, 1);
SELECT cas_enable('counter');
SQL

local @ENV{qw(PGHOST PGPORT PGDATABASE PGUSER)} =
  ($node->host, $node->port, 'postgres', scalar getpwuid $<);
my ($out, $err);
ok( IPC::Run::run(
		[ '/usr/bin/python3', 'test/clients/pools.py' ],
		'<', \undef, '>', \$out, '2>', \$err),
	'the clients run')
  or diag $err;

is($out, <<'OUT', 'acknowledged bumps that are not there');
psycopg_pool: 0
psycopg shared, plain: 2
psycopg shared, claims: 0
psycopg transaction_status: 0
sqlalchemy autocommit, plain: 2
sqlalchemy autocommit, claims: 0
sqlalchemy no reset, plain: -1
sqlalchemy no reset, claims: 0
OUT

done_testing();
