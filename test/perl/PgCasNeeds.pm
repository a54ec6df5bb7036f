# PgCasNeeds.pm: "use PgCasNeeds 'pgbouncer'" skips a test, with the reason,
# where what it needs is not installed.
package PgCasNeeds;

use strict;
use warnings;

use Test::More;

# What can be needed: what is said of it, and whether it is there.
my %probes = (
	pgbouncer => [ 'pgbouncer is not installed: run scripts/setup --test',
		sub { grep { -x "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin' } ],
	node => [ 'Node.js, or its driver pg, are not installed: run scripts/setup --test',
		sub {
			(-d 'examples/counter/node_modules/pg' || -d '/usr/share/nodejs/pg')
			  && grep { -x "$_/node" } split /:/, $ENV{PATH};
		} ],
	sqlsmith => [ 'sqlsmith is not installed: run scripts/setup --test',
		sub { grep { -x "$_/sqlsmith" } split /:/, $ENV{PATH} } ],
	'plain memory' => [ 'a sanitizer keeps what is freed',
		sub { `pg_config --cflags` !~ /fsanitize/ } ],
	python => [ 'psycopg, psycopg_pool, psycopg2 or SQLAlchemy are not installed: run scripts/setup --test',
		sub {
			!system '/usr/bin/python3', '-c',
			  "try: import psycopg, psycopg_pool, psycopg2, sqlalchemy\n"
			  . 'except ImportError: raise SystemExit(1)';
		} ]);

sub import
{
	my ($class, @needs) = @_;

	foreach my $need (@needs)
	{
		my ($what, $probe) = @{ $probes{$need} // die "no need $need" };
		plan skip_all => $what unless $probe->();
	}
	return;
}

1;
