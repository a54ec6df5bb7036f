# PgCasService.pm: the HTTP counter of examples/counter, and clients that go
# away before they have their answer.
package PgCasService;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IPC::Run;
use PgCasSession;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

# The service, as "plain" or "pg_cas", on the node's database postgres.
sub start
{
	my ($class, $node, $mode) = @_;
	my $self = bless { out => '', err => '' }, $class;

	local %ENV = (
		%ENV,
		PGHOST => $node->host,
		PGPORT => $node->port,
		PGUSER => $ENV{PGUSER} // $ENV{USER} // getpwuid($<),
		PGDATABASE => 'postgres');
	# The driver is an npm package of the example, or a package of Debian.
	if (!-d 'examples/counter/node_modules/pg')
	{
		mkdir 'examples/counter/node_modules';
		symlink '/usr/share/nodejs/pg', 'examples/counter/node_modules/pg'
		  or die "examples/counter has no driver: $!";
	}
	$self->{process} = IPC::Run::start(
		[ 'node', 'examples/counter/server.js', $mode, 0 ],
		'<', \undef, '>', \$self->{out}, '2>', \$self->{err});
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	until (($self->{port}) = $self->{out} =~ /listening on port (\d+)/)
	{
		die "the service does not start: $self->{err}"
		  if !$self->{process}->pumpable || time > $until;
		$self->{process}->pump;
	}
	return $self;
}

# Stop it, as a deployment would, and return what it has said on standard
# error.
sub stop
{
	my ($self) = @_;
	$self->{process}->signal('TERM');
	$self->{process}->finish;
	return $self->{err};
}

# Ask, "POST /bump" say, and return status and body.  With a number of seconds
# the client goes away after that time, with a function as soon as that returns
# true, and what it has got by then is returned: (undef) if that is nothing.
sub ask
{
	my ($self, $request, $patience) = @_;
	my $socket = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $self->{port}) or die "connect: $!";
	my $select = IO::Select->new($socket);
	my $gone = ref $patience ? $patience : sub { 0 };
	my $until = time
	  + (defined $patience && !ref $patience ? $patience
		: $PostgreSQL::Test::Utils::timeout_default);
	my $answer = '';

	print $socket "$request HTTP/1.0\r\nHost: localhost\r\n\r\n";
	$socket->flush;
	while ((my $left = $until - time) > 0)
	{
		last if $gone->();
		next unless $select->can_read(ref $patience ? 0.05 : $left);
		last unless sysread $socket, $answer, 65536, length $answer;
	}
	die "no answer to $request: $self->{err}"
	  unless defined $patience || $answer =~ /\r\n\r\n/;
	return $answer =~ m{^HTTP/\S+ (\d+).*?\r\n\r\n(.*)}s ? ($1, $2) : (undef);
}

# A session that leave_asleep() uses.  With it, pg_sleep() in the node's database
# postgres waits for a lock before it sleeps.
sub gate
{
	my ($node) = @_;
	$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION public.pg_sleep(seconds double precision) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_lock_shared(4711);
	PERFORM pg_advisory_unlock_shared(4711);
	PERFORM pg_catalog.pg_sleep(seconds);
END $$;
ALTER DATABASE postgres SET search_path = public, pg_catalog;
SQL
	return PgCasSession->start($node, 'postgres');
}

# A client that asks for /sleep and goes away while the server is in it: the status
# that it has got, which is undef.
sub leave_asleep
{
	my ($self, $gate) = @_;
	$gate->ask('SELECT pg_advisory_lock(4711);');
	my ($status) = $self->ask('GET /sleep?seconds=0.01', sub {
		$gate->ask('SELECT count(*) FROM pg_locks WHERE objid = 4711 AND NOT granted;') > 0 });
	$gate->ask('SELECT pg_advisory_unlock(4711);');
	return $status;
}

1;
