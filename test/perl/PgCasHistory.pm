# PgCasHistory.pm: the numbers that servers have given out, whatever became of
# them: fences, generations, table-wide versions, and, as a control, those of a
# sequence alone.
package PgCasHistory;

use strict;
use warnings;

use Exporter 'import';
use PgCasSession;
use PostgreSQL::Test::Cluster;
use Test::More;

our @EXPORT = qw($draw history_schema history_standby rises risen draws_uncommitted
  told greatest seen_before history_forget);

my @kinds = ('fence', 'generation', 'version', 'control');
my %seen = map { $_ => {} } @kinds;     # what was given out
my %greatest = map { $_ => 0 } @kinds;  # before the present history
my $repeated;                           # how often a number was no larger

# One of each kind, as a client gets it: before the commit.
our $draw = q{
	BEGIN;
	SELECT 'fence', fence FROM lock_acquire('{resource}');
	SELECT 'generation', generation_of(gen_random_uuid());
	SELECT 'version', cas_create('doc', gen_random_uuid()::text, '{}');
	SELECT 'control', nextval('control');
};

# What they are drawn from, except the pool.
sub history_schema
{
	return q{
		CREATE TABLE doc (id text PRIMARY KEY, d jsonb);
		SELECT cas_enable('doc', payload_column => 'd', writers => 'echo', versions => 'table');
		CREATE SEQUENCE control;
		CREATE FUNCTION generation_of(key uuid) RETURNS bigint LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM alloc_int('pool', key);
			RETURN generation FROM alloc_get('pool', key);
		END $$;
	};
}

# A standby that has got everything.
sub history_standby
{
	my ($name, $of) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$of->backup($name);
	$node->init_from_backup($of, $name, has_streaming => 1);
	$node->start;
	$of->wait_for_catchup($node);
	return $node;
}

# Forget all numbers: the next cluster has nothing to do with the former ones.
sub history_forget
{
	%seen = map { $_ => {} } @kinds;
	return;
}

# The largest number of a kind that was given out so far.
sub greatest
{
	my ($kind) = @_;
	return (sort { $b <=> $a } keys %{ $seen{$kind} }, 0)[0];
}

# Note what a client was told; count the numbers that were given out before, or
# are no larger than those of an earlier history.  Those of the control are not
# our affair.
sub told
{
	my ($answer) = @_;

	foreach (split /\n/, $answer)
	{
		my ($kind, $number) = /^(\w+)\|(\d+)$/ or next;

		$repeated->{$kind}++
		  if $seen{$kind}{$number} || $number <= $greatest{$kind};
		$seen{$kind}{$number} = 1;
	}
	return;
}

# Of what a client was told now, all numbers are larger than those that any server
# has given out before.  With $repeats, numbers of the control are not.
sub risen
{
	my ($answer, $what, $repeats) = @_;

	%greatest = map { $_ => greatest($_) } @kinds;
	$repeated = { map { $_ => 0 } @kinds };
	told($answer);
	is($repeated->{$_}, 0, "$what: ${_}s rise")
	  foreach 'fence', 'generation', 'version';
	cmp_ok($repeated->{control}, '>', 0, "$what: the control repeats numbers")
	  if $repeats;
	return;
}

# Draw in a server, so many times, and see that they rise.
sub rises
{
	my ($node, $times, $what, $repeats) = @_;

	return risen($node->safe_psql('postgres', "${draw}COMMIT;" x $times), $what, $repeats);
}

# Numbers that leave a server before their transactions are committed, from a
# session that is left open; with $only, those of one kind are noted.  Only of
# fences is it promised that such numbers do not come again after a crash.
sub draws_uncommitted
{
	my ($node, $times, $only) = @_;
	my $session = PgCasSession->start($node, 'postgres');
	my $answer = $session->ask($draw . ($draw =~ s/BEGIN;//r) x ($times - 1));

	$greatest{$_} = 0 foreach @kinds;
	$answer =~ s/^(?!$only\|).*\n//mg if $only;
	told($answer);
	return $session;
}

# Which kinds of numbers in this answer were given out before, or are no larger
# than such a number?
sub seen_before
{
	my ($answer) = @_;
	my %before;

	foreach (split /\n/, $answer)
	{
		my ($kind, $number) = /^(\w+)\|(\d+)$/ or next;
		$before{$kind} = 1 if $number <= greatest($kind);
	}
	return join ' ', sort keys %before;
}

1;
