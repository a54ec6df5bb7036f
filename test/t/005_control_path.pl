# Claim: where PostgreSQL finds extensions in folders outside of its own
# (extension_control_path, since 18), pg_cas can be installed from there: its
# scripts and its library are those of that folder.
use strict;
use warnings;

use File::Copy;
use PgCas;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = pg_cas_node('main');
plan skip_all => 'there is no extension_control_path before PostgreSQL 18'
  if $node->safe_psql('postgres', 'SHOW server_version_num') < 180000;

my ($share) = run_command([ 'pg_config', '--sharedir' ]);
my ($lib) = run_command([ 'pg_config', '--pkglibdir' ]);
my $dir = PostgreSQL::Test::Utils::tempdir();

mkdir "$dir/$_" or die "$dir/$_: $!" foreach 'extension', 'lib';
copy($_, "$dir/extension") or die "$_: $!"
  foreach glob "$share/extension/pg_cas*";
copy("$lib/pg_cas.so", "$dir/lib") or die "pg_cas.so: $!";

# PL/pgSQL is in the server's own folder
$node->append_conf('postgresql.conf', "extension_control_path = '$dir'");
$node->append_conf('postgresql.conf', "dynamic_library_path = '$dir/lib:\$libdir'");
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere TEMPLATE template0');
is($node->safe_psql('elsewhere', q{
	CREATE EXTENSION pg_cas;
	CREATE TABLE doc (id int PRIMARY KEY, n int);
	SELECT cas_enable('doc');
	SELECT cas_create('doc', 1, '{"n": 1}') + cas_update('doc', 1, 1, '{"n": 2}');
}), "\n3", 'it can be installed from there, and works');
is($node->safe_psql('elsewhere', q{
	SELECT count(*) FROM cas_get('doc', 1);
	SELECT DISTINCT substring(line FROM '/.*/pg_cas[.]so$')
	FROM regexp_split_to_table(pg_read_file('/proc/self/maps'), '\n') AS line
	WHERE line ~ 'pg_cas[.]so$'}),
	"1\n$dir/lib/pg_cas.so", 'its library is the one there, and no other');

done_testing();
