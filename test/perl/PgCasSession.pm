# PgCasSession.pm: a session that can be left waiting: psql in the background,
# which is sent something and asked later what came of it.
package PgCasSession;

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;

# Start one on a node's database.  Errors are told in full, but for where in
# the server's source they were raised.
sub start
{
	my ($class, $node, $database) = @_;
	my $self = bless { in => '', out => '', err => '', sent => 0 }, $class;

	$self->{timeout} =
	  IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	$self->{run} = IPC::Run::start(
		[   'psql', '-XqAt', '-v', 'VERBOSITY=verbose',
			'-v', 'SHOW_CONTEXT=never', '-d', $node->connstr($database) ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err},
		$self->{timeout});
	$self->{pid} = $self->ask('SELECT pg_backend_pid();') =~ s/\n//r;
	return $self;
}

# Send something, and do not wait.  The timeout is for each answer.
sub send
{
	my ($self, $sql) = @_;
	my $mark = 'done ' . ++$self->{sent};

	$self->{mark} = qr/^$mark\n/m;
	$self->{timeout}->start;
	$self->{in} .= "$sql\n\\echo $mark\n\\warn $mark\n";
	$self->{run}->pump_nb;
	return;
}

# Whether what was sent has been answered.
sub answered
{
	my ($self) = @_;
	$self->{run}->pump_nb;
	return $self->{out} =~ $self->{mark} && $self->{err} =~ $self->{mark};
}

# The answer: what it says on standard output, then on standard error.
sub answer
{
	my ($self) = @_;

	until ($self->answered)
	{
		die "psql has gone: $self->{err}" unless $self->{run}->pumpable;
		$self->{run}->pump;
	}
	my $answer = $self->{out} . $self->{err};
	$self->{out} = $self->{err} = '';
	$answer =~ s/$self->{mark}//g;
	$answer =~ s/^LOCATION:.*\n//mg;
	return $answer;
}

sub ask
{
	my ($self, $sql) = @_;
	$self->send($sql);
	return $self->answer;
}

sub stop
{
	my ($self) = @_;
	$self->{in} .= "\\q\n";
	$self->{run}->finish;
	return;
}

1;
