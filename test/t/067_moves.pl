# Claim: the owner of a database, no superuser, dumps and restores it; into a
# database of another owner with --no-owner, where what belonged to roles is his,
# or is handed over to him as docs/operations.md says; into renamed schemas.
# ALTER SCHEMA ... RENAME changes nothing, also for sessions that have used the
# functions before.  Everything works there, and fences, generations and
# table-wide versions go on above all earlier ones.
use strict;
use warnings;

use PgCas;
use PgCasContents;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('here');
my $there = PostgreSQL::Test::Cluster->new('there');
foreach ($node, $there)
{
	$_->init;
	$_->start;
}
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
my $shop = PgCasContents->new($node);
$shop->make_roles;
$node->safe_psql('postgres', $_) foreach 'CREATE ROLE buyer LOGIN', 'CREATE DATABASE shop OWNER app';
$there->safe_psql('postgres', $_) foreach 'CREATE ROLE buyer LOGIN', 'CREATE ROLE guest LOGIN',
  'CREATE ROLE stranger LOGIN';
$shop->make;

my $state = $shop->state;
my @numbers = $shop->draw;
my ($custom, $plain) = map { "$PostgreSQL::Test::Utils::tmp_check/shop.$_" } 'custom', 'sql';

sub connected
{
	my ($contents) = @_;

	return ('-h', $contents->{node}->host, '-p', $contents->{node}->port,
		'-U', $contents->{owner}, '-d', $contents->{database});
}

# An empty database for the contents of the shop.
sub place
{
	my ($node, %with) = @_;
	my $contents = PgCasContents->new($node, %with);

	$node->safe_psql('postgres', "CREATE DATABASE $contents->{database} OWNER $contents->{owner}");
	return $contents;
}

command_ok([ 'pg_dump', '-Fc', '-f', $custom, connected($shop) ], 'the owner dumps, custom');
command_ok([ 'pg_dump', '-f', $plain, connected($shop) ], 'the owner dumps, plain');

# 1. As it was.
my $again = place($node, database => 'again');
command_ok([ 'pg_restore', '-e', connected($again), $custom ], 'the owner restores');
is($again->state, $state, 'restored: everything is as it was');
$again->rises('restored', @numbers);
$again->works('restored');

# 2. Another owner, where the former ones are.
my $sold = place($node, database => 'sold', owner => 'buyer');
command_ok([ 'pg_restore', '-e', '--no-owner', '--no-privileges', connected($sold), $custom ],
	'another owner restores');
is($sold->state($superuser), $shop->state($superuser), 'sold: everything is as it was');
is($sold->ask('SELECT count(*) FROM alloc_pools'), 0, 'sold: the pools are not his yet');
my ($hand_over) = slurp_file('docs/operations.md') =~ /^```sql\n(SELECT alloc_pool_set.*?)^```/ms;
like($sold->ask($hand_over, $superuser), qr/^\n*$/, 'sold: they are handed over');
(my $his = $state) =~ s/\|(app|team)\|/|buyer|/g;
is($sold->state, $his, 'sold: everything is his');
$sold->rises('sold', @numbers);
$sold->works('sold');

# 3. Another owner, where they are not.
my $moved = place($there, owner => 'buyer');
command_ok([ 'pg_restore', '-e', '--no-owner', '--no-privileges', connected($moved), $custom ],
	'another owner restores elsewhere');
is($moved->state, $his, 'moved: everything is his');
$moved->rises('moved', @numbers);
$moved->works('moved');

# 4. Other schemas, in the text of the dump.
my $text = slurp_file($plain);
$text =~ s/\bgoods\b/wares/g;
$text =~ s/\bcas\b/swaps/g;
append_to_file("$plain.renamed", $text);
my $renamed = place($node, database => 'renamed', tables => 'wares', functions => 'swaps');
command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', connected($renamed), '-f', "$plain.renamed" ],
	'the owner restores into renamed schemas');
is($renamed->state, $state, 'renamed in the dump: everything is as it was');
$renamed->rises('renamed in the dump', @numbers);
$renamed->works('renamed in the dump');

# 5. Schemas that are renamed while there are sessions.
my $session = PgCasSession->start($node, 'shop');
$session->ask("SET SESSION AUTHORIZATION app; SET search_path = goods, cas;");
my $seen = $session->ask($PgCasContents::state);
like($seen, qr/^held\|worker/m, 'a session has seen everything');
$shop->ask('ALTER SCHEMA goods RENAME TO wares; ALTER SCHEMA cas RENAME TO swaps');
$shop->{tables} = 'wares';
$shop->{functions} = 'swaps';
is($session->ask("SET search_path = wares, swaps;\n$PgCasContents::state"), $seen,
	'renamed: it sees the same');
is($session->ask(q{UPDATE doc SET d = '{}';}) =~ /PT428/, 1, 'renamed: the guard is on for it');
is($shop->state, $state, 'renamed: everything is as it was');
$shop->rises('renamed', @numbers);

command_ok([ 'pg_dump', '-Fc', '-f', "$custom.renamed", connected($shop) ], 'renamed: it can be dumped');
my $after = place($node, database => 'after', tables => 'wares', functions => 'swaps');
command_ok([ 'pg_restore', '-e', connected($after), "$custom.renamed" ], 'renamed: and restored');
is($after->state, $state, 'renamed, dumped and restored: everything is as it was');
$session->stop;
$shop->works('renamed');

$_->stop foreach $node, $there;
done_testing();
