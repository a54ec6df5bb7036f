# Claim: the queries in docs/monitoring (postgres_exporter.yaml, grafana.json)
# and in the section "Monitoring" of docs/operations.md run as a role that is a
# member of pg_monitor and has no other privilege; each metric is a column of
# its query, and each column a metric; and the metrics show what they are for,
# whoever owns it: a disabled guard, a full pool, an expired lease, a line of
# waiters, an open request, a transaction that is idle.  postgres_exporter, if
# it is installed, serves them.
#
# What the same page says of backups: a base backup that is started without
# recovery repeats fences, unless pg_cas_promoted() is called; one that is
# recovered from the archive does not.
use strict;
use warnings;

use CPAN::Meta::YAML;
use File::Basename;
use HTTP::Tiny;
use IPC::Run qw(start);
use JSON::PP;
use PgCas;
use PgCasSession;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $docs = dirname(__FILE__) . '/../../docs';
my $node = pg_cas_node('main', { allows_streaming => 1, has_archiving => 1 },
	'max_prepared_transactions = 2');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE monitor LOGIN;
GRANT pg_monitor TO monitor;
CREATE ROLE app LOGIN;
CREATE SCHEMA app AUTHORIZATION app;
SQL

# The result of a query as that role: the columns' names, then the rows.
sub as_monitor
{
	my ($sql) = @_;
	my ($out, $err);

	$node->psql('postgres', $sql =~ s/;?\s*\z//r,
		stdout => \$out, stderr => \$err,
		extra_params => [ '-U', 'monitor', '-P', 'tuples_only=off', '-P', 'footer=off' ]);
	my ($columns, @rows) = map { [ split /\|/, $_, -1 ] } split /\n/, $out;
	return ($err, $columns // [], @rows);
}

#
# Each query, while there is nothing to see and while there is.
#
my $metrics = CPAN::Meta::YAML->read("$docs/monitoring/postgres_exporter.yaml")->[0];
my @panels = @{ decode_json(slurp_file("$docs/monitoring/grafana.json"))->{panels} };
my ($monitoring) =
  slurp_file("$docs/operations.md") =~ /^## Monitoring\n(.*?)^##/ms;
my @page = $monitoring =~ /^```sql\n(.*?)^```/msg;

cmp_ok(scalar keys %$metrics, '>=', 7, 'metrics are found');
cmp_ok(scalar @panels, '>=', 10, 'panels are found');
cmp_ok(scalar @page, '>=', 2, 'queries of the page are found');

# The page names no metric that there is not.
my %exported = map {
	my $name = $_;
	map { ("${name}_" . (keys %$_)[0] => 1) } @{ $metrics->{$name}{metrics} }
} keys %$metrics;
my ($alerts) = slurp_file("$docs/operations.md") =~ /^(\| metric \|.*?\n\n)/ms;
is_deeply([ grep { !$exported{$_} } $alerts =~ /\b(pg_cas_\w+)/g ], [],
	'the metrics of the alerts exist');
cmp_ok(scalar(() = $alerts =~ /\bpg_cas_\w+/g), '>=', 5, 'alerts are found');

# All metrics, by query and column; those of several rows by label.
my %now;
sub collect
{
	my ($when) = @_;

	%now = ();
	foreach my $name (sort keys %$metrics)
	{
		my @wanted = map { keys %$_ } @{ $metrics->{$name}{metrics} };
		my ($err, $columns, @rows) = as_monitor($metrics->{$name}{query});

		is($err, '', "$when: $name: no error");
		is_deeply([ sort @$columns ], [ sort @wanted ],
			"$when: $name: its columns are its metrics");
		foreach my $row (@rows)
		{
			my %row;
			@row{@$columns} = @$row;
			my ($label) = map { my ($m) = keys %$_; $_->{$m}{usage} eq 'LABEL' ? $row{$m} : () }
			  @{ $metrics->{$name}{metrics} };
			$now{$name}{$label // ''} = \%row;
		}
	}
	foreach my $panel (@panels)
	{
		foreach my $target (@{ $panel->{targets} })
		{
			# what Grafana puts in
			my $sql = $target->{rawSql} =~
			  s/\$__timeFilter\(([^()]*)\)/$1 BETWEEN now() - interval '1 h' AND now()/gr;
			my ($err, $columns) = as_monitor($sql);

			is($err, '', "$when: panel $panel->{title}");
			cmp_ok(scalar @$columns, '>', 0, "$when: panel $panel->{title}: has columns");
		}
	}
	is((as_monitor($_))[0], '', "$when: " . (/(.*)/)[0]) foreach @page;
	return;
}

collect('at rest');
is($now{pg_cas_lock}{''}{waiting}, 0, 'nobody waits');
is($now{pg_cas_request}{''}{open}, 0, 'no request is open');
is($now{pg_cas_session}{''}{idle_in_transaction}, 0, 'no transaction is idle');

$node->safe_psql('postgres', $_, extra_params => [ '-U', 'app' ]) foreach <<'SQL',
CREATE TABLE app.sound (id int PRIMARY KEY, n int);
CREATE TABLE app.broken (id int PRIMARY KEY, n int);
SELECT cas_enable('app.sound', enforce => 'warn'), cas_enable('app.broken');
ALTER TABLE app.broken DISABLE TRIGGER zzz_cas_guard;
SELECT alloc_pool_create('full', '{1-3}', 'int', cooldown => '1 day');
SELECT alloc_int('full', gen_random_uuid()) FROM generate_series(1, 2);
SELECT alloc_release('full', key) FROM alloc_units LIMIT 1;
SELECT alloc_reserve('full', '3');
SQL
  q{SELECT lease_acquire('held', 'worker', '1 day')},
  q{SELECT lease_acquire('expired', 'worker', '1 ms')};


my ($holder, $waiter, $request) =
  map { PgCasSession->start($node, 'postgres') } 1 .. 3;
$_->ask('SET SESSION AUTHORIZATION app;') foreach $holder, $waiter, $request;
$holder->ask(q{BEGIN; SELECT lock_acquire('{a}');});
$request->ask(q{BEGIN; SELECT request_begin('orders', '4711', '{}');});
$waiter->send(q{BEGIN; SELECT lock_acquire('{a}');});
wait_until('the waiter is in line',
	sub { !$waiter->answered && (as_monitor('SELECT name FROM lock_holders WHERE waiting'))[2] });

collect('at work');
is_deeply([ map { $now{pg_cas_table}{$_}{problem} } 'app.sound', 'app.broken' ],
	[ 0, 1 ], 'the disabled guard is a problem');
is_deeply([ map { $now{pg_cas_table}{$_}{dry_run} } 'app.sound', 'app.broken' ],
	[ 1, 0 ], 'the dry run is shown');
is_deeply([ @{ $now{pg_cas_pool}{full} }{qw(capacity allocated cooling reserved free)} ],
	[ 3, 1, 1, 1, 0 ], 'the pool has nothing free');
is_deeply([ @{ $now{pg_cas_lease}{''} }{qw(held expired)} ], [ 2, 1 ], 'one of the leases has expired');
cmp_ok($now{pg_cas_lease}{''}{oldest_seconds}, '>', 0, 'the oldest has an age');
is_deeply([ @{ $now{pg_cas_lock}{''} }{qw(held waiting)} ], [ 1, 1 ], 'one holds the lock and one waits');
cmp_ok($now{pg_cas_lock}{''}{longest_wait_seconds}, '>', 0, 'the waiter has waited');
is($now{pg_cas_request}{''}{open}, 1, 'a request is open');
cmp_ok($now{pg_cas_request}{''}{oldest_seconds}, '>', 0, 'it has an age');
is($now{pg_cas_session}{''}{idle_in_transaction}, 2, 'the holder and the request are idle in transaction');
cmp_ok($now{pg_cas_session}{''}{longest_idle_seconds}, '>', 0, 'for some time');
is($now{pg_cas_session}{''}{waiting}, 1, 'one session waits');
cmp_ok($now{pg_cas_relation}{alloc_slot}{bytes}, '>', 0, 'tables have sizes');

# A request that is prepared has no session, and is open all the same.
$request->ask(q{SELECT request_done('orders', '4711', '{}'); PREPARE TRANSACTION 'p';});
collect('prepared');
is($now{pg_cas_request}{''}{open}, 1, 'a prepared request is open');
$request->ask(q{COMMIT PREPARED 'p';});
collect('committed');
is($now{pg_cas_request}{''}{open}, 0, 'and no longer');

#
# postgres_exporter serves all metrics.
#
my ($exporter) = grep { -x } map { ("$_/postgres_exporter", "$_/prometheus-postgres-exporter") }
  split /:/, $ENV{PATH};
SKIP:
{
	skip 'postgres_exporter is not installed', 2 unless $exporter;

	my $address = '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port();
	my ($out, $page) = ('', undef);
	local $ENV{DATA_SOURCE_NAME} = sprintf "host=%s port=%s user=monitor dbname=postgres sslmode=disable",
	  $node->host, $node->port;
	my $run = start [ $exporter, "--web.listen-address=$address",
		"--extend.query-path=$docs/monitoring/postgres_exporter.yaml",
		'--disable-default-metrics', '--disable-settings-metrics' ],
	  '<', \undef, '>&', \$out;

	wait_until('the exporter answers', sub {
			$run->pump_nb;
			my $answer = HTTP::Tiny->new->get("http://$address/metrics");
			$page = $answer->{content} if $answer->{success};
			return $page;
	});
	$run->kill_kill;

	my @missing;
	foreach my $name (sort keys %$metrics)
	{
		foreach my $metric (@{ $metrics->{$name}{metrics} })
		{
			my ($column) = keys %$metric;
			push @missing, "${name}_$column"
			  unless $metric->{$column}{usage} eq 'LABEL' || $page =~ /^${name}_$column(?:\{.*\})? \d/m;
		}
	}
	is("@missing", '', 'the exporter serves all metrics');
	like($page, qr/^pg_exporter_last_scrape_error(?:\{.*\})? 0$/m, 'without an error') or diag $out;
}
$_->stop foreach $holder, $waiter, $request;

#
# A base backup that is started without recovery is not noticed.
#
sub fence
{
	my ($server) = @_;
	return $server->safe_psql('postgres',
		q{BEGIN; SELECT fence FROM lock_acquire('{fenced}'); COMMIT;});
}
$node->backup('backup');
my $fence = fence($node);
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'backup');
$copy->start;
cmp_ok(fence($copy), '<=', $fence, 'started without recovery: fences repeat');
$copy->safe_psql('postgres', 'SELECT pg_cas_promoted()');
cmp_ok(fence($copy), '>', fence($node), 'after pg_cas_promoted() they do not');
$copy->stop;

my $recovered = PostgreSQL::Test::Cluster->new('recovered');
$recovered->init_from_backup($node, 'backup', has_restoring => 1, standby => 0);
$recovered->start;
$recovered->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()')
  or die 'the recovery does not end';
cmp_ok(fence($recovered), '>', fence($node), 'recovered from the archive: fences rise');
$recovered->stop;

$node->stop;
done_testing();
