# Claim: when a row or a key has changed after a transaction's snapshot, and
# nobody waits, a swap under READ COMMITTED decides on what is committed.
# Under REPEATABLE READ and SERIALIZABLE it raises 40001, whatever the answer
# would be: also conflict, missing and exists.  Only reads answer from the
# snapshot, and what has not changed is as usual.  This holds for swaps past
# the executor (direct.c) and for those through SQL.
#
# The table at the end has a line for each change and each call: the answer
# under READ COMMITTED, and that under both other levels.
use strict;
use warnings;

use PgCas;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main', 'fsync = off');
pg_cas_helpers($node, 'postgres');
$node->safe_psql('postgres', <<'SQL');
CALL log_answers();
CREATE TABLE obj (id text PRIMARY KEY, doc jsonb NOT NULL);
SELECT cas_enable('obj', payload_column => 'doc');
SQL

# What the first session does after the second one's snapshot.
my $logged = q{INSERT INTO log SELECT 's1', %s, id, NULL, resource_version, doc FROM w};
my $change = sub {
	my ($outcome, $statement) = @_;
	return "WITH w AS ($statement RETURNING *) " . sprintf($logged, "'$outcome'") . ';';
};
my $delete = $change->('deleted', q{DELETE FROM obj WHERE id = 'a'});
my %changes = (
	update => $change->('updated', q{UPDATE obj SET doc = by('s1') WHERE id = 'a'}),
	delete => $delete,
	recreate => $delete . $change->('created', q{INSERT INTO obj VALUES ('a', by('s1'))}),
	other => $change->('updated', q{UPDATE obj SET doc = by('s1') WHERE id = 'x'}),
	create => q{INSERT INTO log VALUES ('s1', 'created', 'm', NULL, cas_create('obj', 'm', by('s1')), by('s1'));});

# What the second session then asks, of the row ID, and what it logs of that.
# A rename is of row a.
my $try = sub {
	my ($call, $expected) = @_;
	return "INSERT INTO log SELECT 's2', outcome, 'ID', $expected, version, payload
		FROM cas_try_$call RETURNING outcome, version, payload;";
};
my $merge = sub {
	return "INSERT INTO log VALUES ('s2', 'merged', 'ID', NULL, $_[0], by('s2')) RETURNING outcome, version;";
};
my %calls = (
	update => $try->(q{update('obj', 'ID', 1, by('s2'))}, 1),
	patch => $try->(q{patch('obj', 'ID', 1, by('s2'))}, 1),
	merge => $merge->(q{cas_merge('obj', 'ID', by('s2'))}),
	apply => $merge->(q{cas_apply('obj', 'ID', 'add(jsonb, jsonb)', by('s2'))}),
	put => q{INSERT INTO log SELECT 's2', CASE v WHEN 1 THEN 'created' ELSE 'updated' END, 'ID', NULL, v, by('s2')
		FROM cas_put('obj', 'ID', by('s2')) AS v RETURNING outcome, version;},
	create => $try->(q{create('obj', 'ID', by('s2'))}, 'NULL'),
	delete => $try->(q{delete('obj', 'ID', 1)}, 1),
	rename => q{INSERT INTO log SELECT 's2', outcome, 'a', 1, version, payload, 'TO'
		FROM cas_try_rename('obj', 'a', 1, 'TO') RETURNING outcome, version, payload;},
	'update stale' => $try->(q{update('obj', 'ID', 5, by('s2'))}, 5),
	'delete stale' => $try->(q{delete('obj', 'ID', 5)}, 5),
	lock => q{INSERT INTO log SELECT 's2', 'exists', id, NULL, version, payload
		FROM cas_lock('obj', ARRAY['ID']) RETURNING id, version, payload;},
	get => q{SELECT * FROM cas_get('obj', 'ID');});

my ($s1, $s2) = map { PgCasSession->start($node, 'postgres') } 1, 2;

# An answer in short.
sub in_short
{
	my ($answer) = @_;
	return "40001 $1" if $answer =~ /ERROR:  40001: .*concurrent (\w+)/;
	return $1 if $answer =~ /ERROR:  (\w+):/;
	return $answer =~ s/\|+/ /gr =~ s/\s+$//r || 'no row';
}

# Play a cell of the table; return the answer and what is wrong with it.
sub play
{
	my ($level, $change, $call) = @_;
	my ($id, $to) = $change eq 'create' ? ('m', 'm') : ('a', 'b');

	$s1->ask(q{TRUNCATE obj, log;
		INSERT INTO obj VALUES ('a', by('setup')), ('x', by('setup'));
		INSERT INTO log SELECT 'setup', 'created', id, NULL, 1, doc FROM obj;});
	$s2->ask("BEGIN ISOLATION LEVEL $level; SELECT 1;");
	my $error = $s1->ask($changes{$change});
	my $answer = in_short($s2->ask($calls{$call} =~ s/\bID\b/$id/gr =~ s/\bTO\b/$to/gr));
	$s2->ask('COMMIT;');
	return $answer . $error . $s1->ask('CALL oracle();');
}

my @table = map { chomp; [ split / *\| */ ] } <DATA>;
foreach my $path ('on', 'off')
{
	$s2->ask("SET pg_cas.direct_path = $path;");
	foreach my $level ('read committed', 'repeatable read', 'serializable')
	{
		my $i = $level eq 'read committed' ? 2 : 3;
		my (@expected, @got);
		foreach my $row (@table)
		{
			my ($change, $call) = @$row;
			push @expected, "$change, $call: $row->[$i]";
			push @got, "$change, $call: " . play($level, $change, $call);
		}
		is(join("\n", @got), join("\n", @expected), "$level, direct_path = $path");
	}
}
is(scalar @table, 56, 'all cells');
$_->stop foreach $s1, $s2;

done_testing();
__DATA__
update   | update       | conflict 2 {"s1": 1}             | 40001 update
update   | patch        | conflict 2 {"s1": 1}             | 40001 update
update   | merge        | merged 3                         | 40001 update
update   | apply        | merged 3                         | 40001 update
update   | put          | updated 3                        | 40001 update
update   | create       | exists 2 {"s1": 1}               | 40001 update
update   | delete       | conflict 2 {"s1": 1}             | 40001 update
update   | rename       | conflict 2 {"s1": 1}             | 40001 update
update   | update stale | conflict 2 {"s1": 1}             | 40001 update
update   | delete stale | conflict 2 {"s1": 1}             | 40001 update
update   | lock         | a 2 {"s1": 1}                    | 40001 update
update   | get          | a 2 {"s1": 1}                    | a 1 {"setup": 1}
delete   | update       | missing                          | 40001 delete
delete   | patch        | missing                          | 40001 update
delete   | merge        | PT404                            | 40001 update
delete   | apply        | PT404                            | 40001 update
delete   | put          | created 1                        | 40001 update
delete   | create       | created 1 {"s2": 1}              | 40001 update
delete   | delete       | missing                          | 40001 delete
delete   | rename       | missing                          | 40001 update
delete   | update stale | missing                          | 40001 update
delete   | delete stale | missing                          | 40001 update
delete   | lock         | no row                           | 40001 update
delete   | get          | no row                           | a 1 {"setup": 1}
recreate | update       | updated 2 {"s2": 1}              | 40001 delete
recreate | patch        | updated 2 {"s1": 1, "s2": 1}     | 40001 update
recreate | merge        | merged 2                         | 40001 update
recreate | apply        | merged 2                         | 40001 update
recreate | put          | updated 2                        | 40001 update
recreate | create       | exists 1 {"s1": 1}               | 40001 update
recreate | delete       | deleted 1 {"s1": 1}              | 40001 delete
recreate | rename       | renamed 2 {"s1": 1}              | 40001 update
recreate | update stale | conflict 1 {"s1": 1}             | 40001 update
recreate | delete stale | conflict 1 {"s1": 1}             | 40001 update
recreate | lock         | a 1 {"s1": 1}                    | 40001 update
recreate | get          | a 1 {"s1": 1}                    | a 1 {"setup": 1}
other    | update       | updated 2 {"s2": 1}              | updated 2 {"s2": 1}
other    | patch        | updated 2 {"s2": 1, "setup": 1}  | updated 2 {"s2": 1, "setup": 1}
other    | merge        | merged 2                         | merged 2
other    | apply        | merged 2                         | merged 2
other    | put          | updated 2                        | updated 2
other    | create       | exists 1 {"setup": 1}            | exists 1 {"setup": 1}
other    | delete       | deleted 1 {"setup": 1}           | deleted 1 {"setup": 1}
other    | rename       | renamed 2 {"setup": 1}           | renamed 2 {"setup": 1}
other    | update stale | conflict 1 {"setup": 1}          | conflict 1 {"setup": 1}
other    | delete stale | conflict 1 {"setup": 1}          | conflict 1 {"setup": 1}
other    | lock         | a 1 {"setup": 1}                 | a 1 {"setup": 1}
other    | get          | a 1 {"setup": 1}                 | a 1 {"setup": 1}
create   | update       | updated 2 {"s2": 1}              | 40001 update
create   | merge        | merged 2                         | 40001 update
create   | put          | updated 2                        | 40001 update
create   | create       | exists 1 {"s1": 1}               | 40001 update
create   | delete       | deleted 1 {"s1": 1}              | 40001 update
create   | rename       | exists 1 {"s1": 1}               | 40001 update
create   | lock         | m 1 {"s1": 1}                    | 40001 update
create   | get          | m 1 {"s1": 1}                    | no row
