# PgCasBouncer.pm: a pgbouncer in front of a node.
package PgCasBouncer;

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes ();

# Start one in this mode ("transaction", "session"), with more lines for its
# settings.  It has one connection to the server, for whoever comes.
sub start
{
	my ($class, $node, $mode, @settings) = @_;
	my ($program) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';
	die "pgbouncer is missing: run scripts/setup --test\n" unless $program;

	my $dir = PostgreSQL::Test::Utils::tempdir_short;
	my $self = bless { dir => $dir, port => $node->port }, $class;
	my $user = getpwuid($<);
	append_to_file("$dir/users", qq{"$user" ""\n});
	append_to_file("$dir/ini", join "\n", <<"INI", @settings, '');
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]} dbname=postgres user=$user
[pgbouncer]
listen_addr =
listen_port = $self->{port}
unix_socket_dir = $dir
auth_type = any
auth_file = $dir/users
logfile = $dir/log
pidfile = $dir/pid
pool_mode = $mode
default_pool_size = 1
admin_users = $user
ignore_startup_parameters = extra_float_digits
INI
	$self->{process} = IPC::Run::start([ $program, '-q', "$dir/ini" ],
		'<', \undef, '>', \$self->{out}, '2>', \$self->{err});
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return $self if -S "$dir/.s.PGSQL.$self->{port}";
		last unless $self->{process}->pumpable;
		Time::HiRes::usleep(100_000);
		$self->{process}->pump_nb;
	}
	die "pgbouncer does not start: $self->{out} $self->{err}";
}

# What libpq needs to connect to it.
sub connstr
{
	my ($self) = @_;
	return "host=$self->{dir} port=$self->{port} dbname=postgres";
}

sub stop
{
	my ($self) = @_;
	$self->{process}->signal('TERM');
	$self->{process}->finish;
	return;
}

1;
