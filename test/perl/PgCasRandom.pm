# PgCasRandom.pm: random guarded tables, and random things to do to them, as
# scripts for psql.
#
# All randomness is rand()'s, so who calls srand() gets the same script again.
# A script names its table but no schema and no database, so it can be run in
# several and its answers be compared.  What each database needs before, says
# prelude().
package PgCasRandom;

use strict;
use warnings;

# Functions, types and roles that the scripts use.
sub prelude
{
	my ($with_icu) = @_;

	return ($with_icu ? <<'SQL' : '') . <<'SQL';
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
SQL
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO alice, bob, carol, dave, erin;
CREATE DOMAIN code AS text CHECK (VALUE ~ '^[a-z]');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN present AS int NOT NULL DEFAULT 1;
CREATE DOMAIN document AS jsonb CHECK (VALUE <> '{"n": 2}');
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1), (2), (3);
GRANT SELECT ON parent TO PUBLIC;

-- What a query answers, whoever asks.
CREATE FUNCTION value_of(query text) RETURNS text LANGUAGE plpgsql
	SECURITY DEFINER AS $$
DECLARE
	value text;
BEGIN
	EXECUTE query INTO value;
	RETURN value;
END $$;

-- What a query answers, or the whole of its error.
CREATE FUNCTION attempt(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	value text; message text; detail text; hint text; s text; t text; c text; n text;
BEGIN
	EXECUTE query INTO value;
	RETURN value;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
		s = SCHEMA_NAME, t = TABLE_NAME, c = COLUMN_NAME, n = CONSTRAINT_NAME;
	RETURN concat_ws(' / ', SQLSTATE, message, detail, hint, s, t, c, n);
END $$;

-- For cas_apply().  Those that need a table or another id find it in args.
CREATE FUNCTION f_concat(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS
	$$SELECT p || coalesce(args -> 'add', '{"f": 1}')$$;
CREATE FUNCTION f_same(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS
	$$SELECT p$$;
CREATE FUNCTION f_strict(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql STRICT AS
	$$SELECT p || args$$;
CREATE FUNCTION f_null(p jsonb, args jsonb) RETURNS jsonb LANGUAGE sql AS
	$$SELECT NULL::jsonb$$;
CREATE FUNCTION f_raise(p jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$BEGIN RAISE 'no' USING ERRCODE = 'XX123', DETAIL = p::text; END$$;
CREATE FUNCTION f_role(p jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$BEGIN PERFORM set_config('role', 'carol', true); RETURN p || '{"role": 1}'; END$$;
CREATE FUNCTION f_execute(p jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$BEGIN EXECUTE args ->> 'sql'; RETURN p || coalesce(args -> 'add', '{"f": 2}'); END$$;
CREATE FUNCTION f_caught(p jsonb, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$BEGIN RETURN p || jsonb_build_object('n', length(attempt(args ->> 'sql'))); END$$;

-- For triggers.
CREATE FUNCTION tr_touch() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN NEW.extra = coalesce(NEW.extra, 0) + 1; RETURN NEW; END$$;
CREATE FUNCTION tr_skip() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN RETURN CASE WHEN OLD.extra IS NULL THEN NEW END; END$$;
CREATE FUNCTION tr_say() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN RAISE NOTICE '% %', TG_OP, TG_WHEN; RETURN NULL; END$$;
SQL
}

# They are the server's: alice has all rights on the table, bob the same
# column by column, carol only SELECT, dave only UPDATE, erin may read nothing
# but key and version.
our @roles = qw(alice bob carol dave erin);

# And frank has all rights on the table, but may not look into its schema.
our $outsider = 'frank';

sub one { return $_[ rand @_ ] }
sub chance { return rand() < $_[0] }

# ----------
# Tables
# ----------

# Types of keys: rows' keys with what is the same key in other words, keys
# that are missing, and malformed ones.
sub key_types
{
	my ($with_icu) = @_;
	my @types = (
		{ type => 'text', keys => [ ['a'], ['b'], ['c'], [''] ], missing => ['zz'], malformed => [] },
		{ type => 'varchar(4)', keys => [ ['a'], ['b'], ['c '], ['d'] ], missing => ['zz'], malformed => ['far too long'] },
		{ type => 'char(4)', keys => [ [ 'a', 'a   ' ], [ 'b', 'b ' ], ['c'], ['d'] ], missing => ['zz'], malformed => ['far too long'] },
		{ type => 'code', keys => [ ['a'], ['b'], ['c'], ['d'] ], missing => ['zz'], malformed => ['1'] },
		{ type => 'int', keys => [ [1], [ 2, '02' ], [-3], [0] ], missing => [99], malformed => [ 'x', '99999999999' ] },
		{ type => 'smallint', keys => [ [1], [2], [-3], [0] ], missing => [99], malformed => [70000] },
		{ type => 'bigint', keys => [ [1], [2], ['-9223372036854775808'], [0] ], missing => [99], malformed => ['1.5'] },
		{ type => 'numeric', keys => [ [ '1', '1.00' ], [ '2.50', '2.5' ], ['NaN'], ['0'] ], missing => ['9.9'], malformed => ['x'] },
		{ type => 'numeric(6,2)', keys => [ [ '1', '1.001' ], ['2.5'], ['-3'], ['0'] ], missing => ['9.9'], malformed => ['123456'] },
		{
			type => 'uuid',
			keys => [ map { [ "aaaaaaaa-0000-0000-0000-00000000000$_", "AAAAAAAA-0000-0000-0000-00000000000$_" ] } 1 .. 4 ],
			missing => ['bbbbbbbb-0000-0000-0000-000000000001'],
			malformed => ['x']
		},
		{ type => 'timestamptz', keys => [ [ '2020-01-01 00:00+00', '2020-01-01 02:00+02' ], ['2021-01-01'], ['infinity'], ['epoch'] ], missing => ['1999-09-09'], malformed => ['x'] },
		{ type => 'mood', keys => [ ['sad'] ], missing => ['ok'], malformed => ['x'] });
	push @types, { type => 'text COLLATE blind', keys => [ [ 'Alpha', 'ALPHA', 'álpha' ], [ 'b', 'B' ], ['c'], ['d'] ], missing => ['zz'], malformed => [] }
	  if $with_icu;
	return @types;
}

# Columns: the declaration, JSON values that fit, and values that do not; and
# what may stand in an index.
sub columns
{
	my ($with_icu) = @_;
	my $long = join '', map { chr(97 + $_ * 7 % 23) x (1 + $_ % 3) } 1 .. 2000;
	my @columns = (
		[ 'n', 'int', [ 0, 1, 2, 3, 'null' ], [ '"x"', '99999999999' ], 'n', '(n + 1)', '(100 / n)' ],
		[ 'small', 'smallint NOT NULL DEFAULT 7', [ 1, 2 ], [ 'null', 70000 ], 'small' ],
		[ 'label', 'varchar(5)', [ '"abc"', '"abc  "', '"abc      "', 'null' ], ['"too long"'], 'label', 'lower(label)', 'label varchar_pattern_ops' ],
		[ 'pad', 'char(4)', [ '"ab"', '"ab  "', 'null' ], ['"too long"'], 'pad' ],
		[ 'amount', 'numeric(8,2)', [ 1, '1.00', '1.005', 'null' ], ['1e10'], 'amount' ],
		[ 'num', 'numeric', [ 1, '1.0', '1.00', '"NaN"', 'null' ], ['"x"'], 'num' ],
		[ 'tags', 'text[]', [ '["a", "b"]', '[]', '["a", null]', 'null' ], ['"x"'], 'tags' ],
		[ 'grid', 'int[]', [ '[[1, 2], [3, 4]]', '"[0:1]={1,2}"', '[1, 2]', 'null' ], ['["x"]'], 'grid' ],
		[ 'pos', 'positive', [ 1, 2, 'null' ], [-1], 'pos' ],
		[ 'here', 'present', [ 1, 2 ], ['null'], 'here' ],
		[ 'must', "text NOT NULL DEFAULT 'd'", [ '"x"', '"y"', '""' ], ['null'], 'must' ],
		[ 'big', 'text', [ qq("$long"), '"' . 'x' x 9000 . '"', '"short"', 'null' ], [], 'left(big, 100)' ],
		[ 'j', 'jsonb', [ '{"a": 1}', '{"a": {"b": 2}}', '[1]', 'null', '"s"', '{}' ], [], "(j ->> 'a')", 'j' ],
		[ 'raw_json', 'json', [ '{"a": 1}', '[1, 2]', 'null' ], [], "(raw_json ->> 'a')" ],
		[ 'f', 'float8', [ 0, '"-0"', '"NaN"', 1.5, 'null' ], ['"x"'], 'f' ],
		[ 'ts', 'timestamptz', [ '"2020-01-01 00:00+00"', '"2020-01-01 01:00+01"', '"infinity"', 'null' ], ['"x"'], 'ts' ],
		[ 'span', 'interval', [ '"1 day"', '"24 hours"', 'null' ], ['"x"'], 'span' ],
		[ 'host', 'inet', [ '"10.0.0.1"', '"10.0.0.1/8"', 'null' ], ['"x"'], 'host' ],
		[ 'r', 'int4range', [ '"[1,3)"', '"[1,2]"', '"empty"', 'null' ], ['"x"'], 'r' ],
		[ 'feels', 'mood', [ '"sad"', '"ok"', 'null' ], ['"x"'], 'feels' ],
		[ 'mates', 'pair', [ '{"a": 1, "b": "x"}', '{"a": 1}', 'null' ], ['{"a": "x"}'], 'mates' ],
		[ 'bits', 'bit(3)', [ '"101"', '"000"', 'null' ], ['"1"'], 'bits' ],
		[ 'flag', 'bool NOT NULL DEFAULT false', [ 'true', 'false' ], [ 'null', '"x"' ], 'flag' ],
		[ 'raw', 'bytea', [ '"\\\\x00ff"', '"\\\\x"', 'null' ], ['"\\\\xZZ"'], 'raw' ],
		[ 'given', 'int GENERATED BY DEFAULT AS IDENTITY', [ 5, 6, 7 ], ['null'], 'given' ],
		[ 'always', 'int GENERATED ALWAYS AS IDENTITY', [], [ 1, 5 ], 'always' ]);
	push @columns, [ 'ci', 'text COLLATE blind', [ '"a"', '"A"', '"b"', 'null' ], [], 'ci' ]
	  if $with_icu;
	return @columns;
}

# What the direct path does not serve, or only in part, or with the executor's help,
# and how a table comes to have it.
my %unplain = (
	check => 'ALTER TABLE THIS ADD CHECK (extra < 100)',
	generated => 'ALTER TABLE THIS ADD twice int GENERATED ALWAYS AS (extra * 2) STORED',
	references => 'ALTER TABLE THIS ADD FOREIGN KEY (extra) REFERENCES parent',
	referenced => 'CREATE TABLE THIS_child AS SELECT FIRST FROM THIS WHERE false; ALTER TABLE THIS_child ADD FOREIGN KEY (FIRST) REFERENCES THIS ON UPDATE CASCADE',
	policies => 'ALTER TABLE THIS ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY see ON THIS USING (extra IS NULL OR extra < 3)',
	rule => 'CREATE RULE also AS ON UPDATE TO THIS DO ALSO NOTIFY nobody',
	'touching trigger' => 'CREATE TRIGGER touch BEFORE UPDATE ON THIS FOR EACH ROW EXECUTE FUNCTION tr_touch()',
	'skipping trigger' => 'CREATE TRIGGER skip BEFORE UPDATE ON THIS FOR EACH ROW EXECUTE FUNCTION tr_skip()',
	'late trigger' => 'CREATE TRIGGER say AFTER INSERT OR UPDATE ON THIS FOR EACH ROW EXECUTE FUNCTION tr_say()',
	'statement trigger' => 'CREATE TRIGGER say AFTER UPDATE ON THIS FOR EACH STATEMENT EXECUTE FUNCTION tr_say()',
	deferrable => 'ALTER TABLE THIS ADD UNIQUE (extra) DEFERRABLE INITIALLY DEFERRED',
	exclusion => 'ALTER TABLE THIS ADD EXCLUDE (extra WITH =)',
	'domain document' => '',
	partitioned => '');

# A key: its columns' literals, id arguments, its JSON, and its WHERE.
sub make_key
{
	my ($table, @texts) = @_;
	my @columns = @{ $table->{key_columns} };
	my %key;

	$key{literals} = [ map { "'$_'" } @texts ];
	$key{where} = join ' AND ',
	  map { "$columns[$_][0] = '$texts[$_]'::" . ($columns[$_][1] =~ s/ COLLATE.*//r) } 0 .. $#columns;
	if (@columns == 1)
	{
		my $type = $columns[0][1] =~ s/ COLLATE.*//r;
		$key{json} = qq("$texts[0]");
		$key{ids} = [ "'$texts[0]'", "'$texts[0]'", "'$texts[0]'::$type" ];
		push @{ $key{ids} }, "${\int $texts[0]}::bigint" if $type =~ /int/ && $texts[0] =~ /^\d{1,3}$/;
	}
	else
	{
		$key{json} = '{' . join(', ', map { qq("$columns[$_][0]": "$texts[$_]") } 0 .. $#columns) . '}';
		$key{ids} = [ "'$key{json}'::jsonb", "'$key{json}'" ];
	}
	return \%key;
}

# A random table.  pure: what is done to it is what the direct path serves, if
# the table is plain.  Every other one is, by its number, and the others are not
# in turn for each reason.
sub make_table
{
	my ($name, $number, $with_icu) = @_;
	my @unplain = sort keys %unplain;
	my @types = key_types($with_icu);
	my %t = (name => $name);

	$t{pure} = chance(0.4);
	$t{document} = chance(0.5);
	$t{unplain} = $number % 2 ? $unplain[ $number / 2 % @unplain ] : '';
	$t{unplain} = 'check' if $t{unplain} eq 'domain document' && !$t{document};

	# the key, and rows that it names
	my $nkeys = chance(0.25) && $t{unplain} ne 'referenced' ? 2 + int rand 2 : 1;
	my @key_types = map { one(@types) } 1 .. $nkeys;
	$t{key_columns} = [ map { [ $nkeys > 1 ? "k$_" : 'k', $key_types[ $_ - 1 ]{type} ] } 1 .. $nkeys ];
	$t{rows} = [];
	$t{others} = [];
	$t{missing} = [];
	$t{malformed} = [];
	foreach my $i (0 .. 3)
	{
		my @alternatives = map { $_->{keys}[ $i % @{ $_->{keys} } ] } @key_types;
		next if $i >= 1 && $nkeys == 1 && $i >= @{ $key_types[0]{keys} };
		next if $i >= 1 && $nkeys > 1 && grep { @{ $_->{keys} } == 1 } @key_types;
		push @{ $t{rows} }, make_key(\%t, map { $_->[0] } @alternatives);
		push @{ $t{others} }, make_key(\%t, map { one(@$_) } @alternatives);
	}
	push @{ $t{missing} }, make_key(\%t, map { one(@{ $_->{missing} }) } @key_types);
	my @malformed = map { one(@{ $_->{malformed} }) // 'zz' } @key_types;
	push @{ $t{malformed} }, make_key(\%t, @malformed);

	# other columns; "extra" is for what makes a table unplain
	my @pool = columns($with_icu);
	@pool = grep { $_->[0] !~ /^(j|raw_json|mates)$/ } @pool
	  if $t{pure} && !$t{document};    # objects in a patch want the row
	my %seen;
	$t{columns} = [ grep { !$seen{ $_->[0] }++ } map { one(@pool) } 1 .. 1 + rand 5 ];
	push @{ $t{columns} }, [ 'extra', 'int', [ 1, 2, 3, 'null' ], [ '"x"' ], 'extra' ];
	$t{version_type} = one('smallint', 'int', 'bigint', 'bigint');

	# the guard
	my %s;
	$s{writers} = one('bump', 'echo');
	$s{unversioned} = one('allow', 'reject');
	$s{versions} = $s{writers} eq 'echo' && chance(0.4) ? 'table' : 'row';
	$s{enforce} = 'warn' if chance(0.1);
	$s{payload_column} = 'doc' if $t{document};
	$t{settings} = \%s;
	$t{path} = $t{document} && chance(0.5) ? one('{version}', '{meta,version}') : undef;
	$t{ignored} = [ grep { chance(0.3) } map { $_->[0] } @{ $t{columns} } ];
	push @{ $t{ignored} }, 'doc' if $t{document} && chance(0.05);
	return \%t;
}

sub setup_sql
{
	my ($t) = @_;
	my $name = $t->{name};
	my @keys = map { $_->[0] } @{ $t->{key_columns} };
	my $keys = join ', ', @keys;
	my $partitioned = $t->{unplain} eq 'partitioned';
	my $doc = $t->{unplain} eq 'domain document' ? 'document' : 'jsonb';
	my @sql;

	# a foreign key ties tables of one persistence
	my $persistence = $partitioned || $t->{unplain} =~ /^referenc/ ? '' : one('', '', '', 'UNLOGGED', 'TEMP');
	my @columns = map { "$_->[0] $_->[1]" } @{ $t->{key_columns} }, @{ $t->{columns} };
	push @columns, "gone text DEFAULT repeat('gone', 9)" if chance(0.3);
	push @columns, "doc $doc" if $t->{document};
	push @columns, "v $t->{version_type} DEFAULT 1";
	@columns = sort { rand() <=> 0.5 } @columns if chance(0.5);
	push @sql, "CREATE $persistence TABLE $name (" . join(', ', @columns) . ", PRIMARY KEY ($keys))"
	  . ($partitioned ? " PARTITION BY HASH ($keys)" : chance(0.3) ? ' WITH (fillfactor = 50)' : '');
	push @sql, map { "CREATE TABLE ${name}_$_ PARTITION OF $name FOR VALUES WITH (MODULUS 2, REMAINDER $_)" } 0, 1
	  if $partitioned;
	foreach (map { $_->[0] } @{ $t->{columns} }, $t->{document} ? ['doc'] : ())
	{
		push @sql, "ALTER TABLE $name ALTER $_ SET STORAGE " . one('EXTERNAL', 'MAIN')
		  if /^(big|j|doc)$/ && chance(0.5);
	}

	# rows that were there before the guard
	foreach my $row (@{ $t->{rows} })
	{
		my ($n, $v) = (join(', ', $keys, $t->{document} ? 'doc' : (), 'v'),
			one(1, 1, 1, 5, 32765 + int rand 3));
		push @sql, "INSERT INTO $name ($n) VALUES (" . join(', ', @{ $row->{literals} },
			$t->{document} ? one(qq('{"n": 1${\int rand 99}}'), 'NULL', $t->{path} ? () : document($t)) : (), $v) . ')';
	}
	foreach my $column (@{ $t->{columns} })
	{
		my @expressions = @$column[ 4 .. $#$column ];
		next if !chance(0.4);
		my $expression = one(@expressions);
		my $where = chance(0.2) ? " WHERE $column->[0] IS NOT NULL" : '';
		if ($expression =~ /^(tags|j)$/) { push @sql, "CREATE INDEX ON $name USING gin ($expression)$where" }
		elsif ($expression =~ /^r$/ && chance(0.5)) { push @sql, "CREATE INDEX ON $name USING gist ($expression)$where" }
		elsif ($expression =~ /^\w+$/ && chance(0.1)) { push @sql, "CREATE INDEX ON $name USING hash ($expression)$where" }
		elsif ($expression =~ /^\w+$/ && chance(0.1)) { push @sql, "CREATE INDEX ON $name USING brin ($expression)" }
		else { push @sql, "CREATE " . ($partitioned ? '' : one('', 'UNIQUE ')) . "INDEX ON $name ($expression)$where" }
	}
	push @sql, "CREATE INDEX ON $name (v)" if chance(0.1);
	push @sql, one("CREATE INDEX ON $name USING gin (doc)", "CREATE INDEX ON $name USING gin (doc jsonb_path_ops)",
		"CREATE INDEX ON $name ((doc ->> 'n'))", ($partitioned ? () : "CREATE UNIQUE INDEX ON $name ((doc ->> 'n'))"),
		"CREATE INDEX ON $name ((doc ->> 'n')) WHERE doc ? 'n'")
	  if $t->{document} && chance(0.5);

	push @sql, "ALTER TABLE $name DROP IF EXISTS gone", "ALTER TABLE $name ADD late int DEFAULT 7";
	push @{ $t->{columns} }, [ 'late', 'int', [ 6, 7, 'null' ], [], 'late' ];

	my $how = $unplain{ $t->{unplain} };
	push @sql, split /; /, $how =~ s/THIS/$name/gr =~ s/FIRST/$keys[0]/gr;

	my %s = %{ $t->{settings} };
	my $settings = join ', ', map { "$_ => '$s{$_}'" } sort keys %s;
	push @sql, "SELECT cas_enable('$name', version_column => 'v', $settings, ignore_columns => '{"
	  . join(',', @{ $t->{ignored} }) . "}'" . ($t->{path} ? ", version_path => '$t->{path}'" : '') . ')';

	# a row that lost its version while the guard was off
	push @sql, "BEGIN", "SET LOCAL session_replication_role = replica",
	  "UPDATE $name SET v = NULL WHERE $t->{rows}[-1]{where}", 'COMMIT'
	  if chance(0.1);

	my @all = map { $_->[0] } @{ $t->{key_columns} }, @{ $t->{columns} };
	push @all, 'doc' if $t->{document};
	push @sql, "GRANT ALL ON $name TO alice", "GRANT SELECT ON $name TO carol", "GRANT UPDATE ON $name TO dave";
	push @sql, "GRANT SELECT (" . join(', ', @all, 'v') . "), INSERT, DELETE, UPDATE (" . join(', ', @all) . ") ON $name TO bob";
	push @sql, "GRANT SELECT ($keys, v), UPDATE (" . join(', ', @all) . ") ON $name TO erin";
	return @sql;
}

# ----------
# Arguments
# ----------

sub value_of { return "value_of(\$v\$$_[0]\$v\$)" }

# A document, as SQL.
sub document
{
	my ($t) = @_;
	return one(
		map({ qq('{"n": $_}') } 1 .. 3),
		q('{"n": 1.0}'), q('{"n": 1.00}'), q('{"n": 2, "deep": {"a": 1}}'),
		q('{"meta": {"version": 99, "x": 1}}'), q('{"version": 7}'),
		q('{}'), q('[]'), q('null'), q('"text"'), q('{"meta": 5}'),
		q(jsonb_build_object('n', 3, 'big', repeat('x', 9000))),
		q(jsonb_build_object('n', 4, 'big', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) AS i))));
}

sub quote_sql { return "'" . ($_[0] =~ s/'/''/gr) . "'" }

# A JSON object that names some columns; wild: with what does not fit, too.
sub object
{
	my ($t, $wild) = @_;
	my @fields;

	foreach my $column (@{ $t->{columns} })
	{
		next if chance(0.5);
		my @values = @{ $column->[2] };
		push @values, @{ $column->[3] } if $wild && chance(0.2);
		push @fields, qq("$column->[0]": ) . one(@values) if @values;
	}
	if ($wild && chance(0.1))
	{
		push @fields, one('"nothing": 1', '"v": 1', qq("$t->{key_columns}[0][0]": 1), '"twice": 1',
			'"always": 1');
	}
	return quote_sql('{' . join(', ', @fields) . '}') . '::jsonb';
}

# A payload for a row.
sub payload
{
	my ($t, $key, $wild) = @_;

	if ($t->{document})
	{
		my $now = value_of("SELECT doc FROM $t->{name} WHERE $key->{where}");
		return document($t) if chance(0.7);
		return one("${now}::jsonb", "${now}::jsonb || '{\"n\": 4}'");
	}
	return object($t, $wild) if chance(0.8);
	my $less = $wild && chance(0.2) ? '' : q( - 'v' - 'always' - 'twice');
	return value_of("SELECT to_jsonb(r)$less FROM $t->{name} AS r WHERE $key->{where}") . '::jsonb';
}

sub patch
{
	my ($t, $wild) = @_;
	return $t->{document}
	  ? one(q('{"n": 5}'), q('{"n": null}'), q('{"deep": {"a": null, "b": 2}}'), q('{}'), q('[1]'), q('{"meta": null}'),
		q('{"meta": {"version": null}}'), document($t))
	  : object($t, $wild);
}

sub version
{
	my ($t, $key, $wild) = @_;
	my $now = value_of("SELECT v FROM $t->{name} WHERE $key->{where}") . '::bigint';

	return $now if !$wild || chance(0.7);
	return one("$now + 1", "$now - 1", 0, 1, -1, '9223372036854775807', 'NULL');
}

sub function_of
{
	my ($t, $key, $wild) = @_;
	my $other = one(@{ $t->{rows} });
	my $name = $t->{name};
	my $sql = one(
		"UPDATE $name SET extra = coalesce(extra, 0) + 1 WHERE $key->{where}",
		"DELETE FROM $name WHERE $key->{where}",
		"SELECT cas_merge('$name', $key->{ids}[0], '{\"extra\": 3}')",
		"SELECT cas_merge('$name', $other->{ids}[0], '{\"extra\": 3}')",
		"SELECT cas_get('$name', $key->{ids}[0])",
		"CREATE INDEX ON $name (v)",
		"ALTER TABLE $name ADD another int",
		"SELECT 1/0");
	my $add = $t->{document} ? '{"n": 3}' : '{"extra": 2}';
	my $args = "jsonb_build_object('add', '$add'::jsonb, 'sql', " . quote_sql($sql) . ")";

	return "'f_concat(jsonb, jsonb)', $args" if !$wild;
	return one("'f_concat(jsonb, jsonb)', $args", "'f_same(jsonb, jsonb)'", "'f_strict(jsonb, jsonb)'", "'f_strict(jsonb, jsonb)', '$add'", "'f_null(jsonb, jsonb)'", "'f_raise(jsonb, jsonb)'",
		"'f_role(jsonb, jsonb)', $args", "'f_execute(jsonb, jsonb)', $args", "'f_execute(jsonb, jsonb)', $args", "'f_caught(jsonb, jsonb)', $args",
		"'tr_say()'", "'f_concat(jsonb, jsonb)', NULL");
}

sub any_key
{
	my ($t, $wild) = @_;
	my $i = int rand @{ $t->{rows} };

	return $t->{rows}[$i] if chance(0.8);
	return $t->{others}[$i] if !$wild || chance(0.4);
	return one(@{ $t->{missing} }, @{ $t->{missing} }, @{ $t->{malformed} });
}

# ----------
# Operations
# ----------

# One item of cas_txn().  What needs the row's own values is left out.
sub txn_item
{
	my ($t, $wild) = @_;
	my $key = any_key($t, $wild);
	my $payload = $t->{document} ? document($t) : object($t, $wild);
	my @ops = qw(update patch merge put);
	push @ops, qw(apply get) if $t->{document} || $wild;
	push @ops, qw(create delete rename) if $wild;
	my $op = one(@ops);
	my %add = (
		update => ", 'payload', ($payload)::jsonb",
		create => ", 'payload', ($payload)::jsonb",
		put => ", 'payload', ($payload)::jsonb",
		patch => ", 'patch', (${\patch($t, $wild)})::jsonb",
		merge => ", 'patch', (${\patch($t, $wild)})::jsonb",
		apply => ", 'fn', 'f_concat(jsonb, jsonb)'",
		rename => ", 'new_id', '" . any_key($t, $wild)->{json} . "'::jsonb",
		get => '',
		delete => '');
	my $version = $op =~ /^(update|patch|delete|rename)$/ && (!$wild || chance(0.7))
	  ? ", 'version', " . version($t, $key, $wild) : '';
	return "jsonb_build_object('op', '$op', 'table', '$t->{name}', 'id', '$key->{json}'::jsonb$version$add{$op})";
}

sub comparison
{
	my ($t, $wild) = @_;
	my $key = any_key($t, $wild);
	my $what = one("'exists', true", $wild ? "'absent', true" : (), "'version', " . version($t, $key, $wild));
	return "jsonb_build_object('table', '$t->{name}', 'id', '$key->{json}'::jsonb, $what)";
}

sub list_of
{
	my ($make, $from, $to, @args) = @_;
	return 'jsonb_build_array(' . join(', ', map { $make->(@args) } 1 .. $from + rand($to - $from + 1)) . ')';
}

# One call.  Of a pure one, all statements are what the direct path serves.
sub call
{
	my ($t, $wild) = @_;
	my $name = $t->{name};
	my $key = any_key($t, $wild);
	my $id = one(@{ $key->{ids} });
	my $try = $wild && chance(0.4) ? 'try_' : '';
	my $form = $try ? 'SELECT * FROM' : 'SELECT';
	my @ops = qw(update update update patch merge merge txn put);
	push @ops, qw(apply get lock) if $t->{document} || $wild;
	push @ops, qw(create delete rename) if $wild;
	my $op = one(@ops);
	my $version = version($t, $key, $wild);
	my $payload = payload($t, $key, $wild);

	return "$form cas_${try}update('$name', $id, $version, $payload)" if $op eq 'update';
	return "$form cas_${try}patch('$name', $id, $version, ${\patch($t, $wild)})" if $op eq 'patch';
	return "SELECT cas_merge('$name', $id, ${\patch($t, $wild)})" if $op eq 'merge';
	return "SELECT cas_apply('$name', $id, ${\function_of($t, $key, $wild)})" if $op eq 'apply';
	return "SELECT cas_put('$name', $id, $payload)" if $op eq 'put';
	return "SELECT * FROM cas_get('$name', $id)" if $op eq 'get';
	return "$form cas_${try}create('$name', $id, $payload)" if $op eq 'create';
	return "$form cas_${try}delete('$name', $id, $version)" if $op eq 'delete';
	return "$form cas_${try}rename('$name', $id, $version, ${\one(@{ any_key($t, $wild)->{ids} })})" if $op eq 'rename';
	if ($op eq 'lock')
	{
		my @ids = map { any_key($t, $wild) } 1 .. 1 + rand 3;
		my $array = @{ $t->{key_columns} } == 1 && chance(0.5)
		  ? "'{" . join(',', map { $_->{json} } @ids) . "}'"
		  : 'ARRAY[' . join(', ', map { $_->{ids}[0] } @ids) . ']';
		return "SELECT * FROM cas_lock('$name', $array, '${\one('update', 'share')}')";
	}
	return "SELECT cas_txn(${\list_of(\&comparison, 0, 2, $t, $wild)}, ${\list_of(\&txn_item, 1, 3, $t, $wild)}, "
	  . "${\list_of(\&txn_item, 0, 1, $t, $wild)})";
}

# A plain statement.
sub plain
{
	my ($t) = @_;
	my $name = $t->{name};
	my $key = one(@{ $t->{rows} });
	my $keys = join ', ', map { $_->[0] } @{ $t->{key_columns} };

	return one(
		"UPDATE $name SET extra = coalesce(extra, 0) + 1, v = v + 1 WHERE $key->{where}",
		"UPDATE $name SET extra = 1, v = v WHERE $key->{where}",
		"UPDATE $name SET extra = 2 WHERE $key->{where}",
		"DELETE FROM $name WHERE $key->{where}",
		"INSERT INTO $name ($keys) VALUES (" . join(', ', @{ $key->{literals} }) . ") ON CONFLICT DO NOTHING");
}

# A change of the table between calls.
sub alter
{
	my ($t) = @_;
	my $name = $t->{name};

	return one(
		"ALTER TABLE $name ADD CONSTRAINT small CHECK (extra < 50) NOT VALID",
		"ALTER TABLE $name DROP CONSTRAINT IF EXISTS small",
		"CREATE INDEX ON $name (extra)",
		"ALTER TABLE $name ALTER extra TYPE bigint",
		"ALTER TABLE $name ALTER extra SET NOT NULL",
		"ALTER TABLE $name ALTER extra DROP NOT NULL",
		"ALTER TABLE $name ADD more int DEFAULT 1",
		"ALTER TABLE $name DROP IF EXISTS late",
		"CREATE OR REPLACE RULE also AS ON UPDATE TO $name DO ALSO NOTIFY nobody",
		"DROP RULE IF EXISTS also ON $name",
		"ALTER TABLE $name ENABLE ROW LEVEL SECURITY",
		"ALTER TABLE $name DISABLE ROW LEVEL SECURITY",
		"ALTER TABLE $name REPLICA IDENTITY FULL",
		"CREATE UNIQUE INDEX ON $name (extra)",
		"REVOKE UPDATE ON $name FROM alice",
		"GRANT UPDATE ON $name TO alice",
		"VACUUM $name", "CLUSTER $name USING ${name}_pkey");
}

# Some statements that belong together.
sub block
{
	my ($t) = @_;
	my $wild = !$t->{pure};
	my $how = $wild ? int rand 12 : int rand 8;
	my $call = sub { return $wild && chance(0.15) ? plain($t) : call($t, $wild) };
	my $id = @{ $t->{key_columns} } == 1 ? 'k'
	  : 'jsonb_build_object(' . join(', ', map { "'$_->[0]', $_->[0]" } @{ $t->{key_columns} }) . ')';
	my $order = join ', ', map { $_->[0] } @{ $t->{key_columns} };

	return $call->() if $how <= 2;
	if ($how == 3)
	{
		return ('BEGIN ISOLATION LEVEL ' . one('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'),
			(map { $call->() } 1 .. 1 + rand 4), one('COMMIT', 'COMMIT', 'ROLLBACK'));
	}
	if ($how == 4)
	{
		return ('BEGIN ISOLATION LEVEL ' . one('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE'),
			$call->(), 'SAVEPOINT s', (map { $call->() } 1 .. 1 + rand 2),
			one('ROLLBACK TO s', 'ROLLBACK TO s', 'RELEASE s'), $call->(), one('COMMIT', 'COMMIT', 'ROLLBACK'));
	}
	return 'SELECT attempt(' . quote_sql($call->()) . ') FROM generate_series(1, ' . one(1, 2) . ')' if $how == 5;
	if ($how == 6)
	{
		return ("SELECT cas_merge('$t->{name}', $id, ${\patch($t, 0)}) FROM (SELECT * FROM $t->{name} ORDER BY $order) AS r")
		  if !$wild || chance(0.3);
		return "SELECT attempt(format('SELECT cas_update(%L, %L, %s, %L)', '$t->{name}', ($id)::text, v, ${\patch($t, 1)})) "
		  . "FROM (SELECT * FROM $t->{name} ORDER BY $order) AS r";
	}
	if ($how == 7)
	{
		my $key = one(@{ $t->{rows} });
		my $type = @{ $t->{key_columns} } == 1 ? 'text' : 'jsonb';
		my $value = @{ $t->{key_columns} } == 1 ? $key->{ids}[0] : "'$key->{json}'";
		return ("PREPARE p(jsonb) AS SELECT cas_merge('$t->{name}', $value, \$1)",
			(map { "EXECUTE p(${\patch($t, 0)})" } 1 .. one(2, 7)), 'DEALLOCATE p');
	}
	if ($how == 8)
	{
		my $key = one(@{ $t->{rows} });
		my $row = $key->{ids}[0];
		return "SELECT cas_merge('$t->{name}', $row, ${\patch($t, 0)}), cas_update('$t->{name}', $row, ${\version($t, $key, 1)}, ${\payload($t, $key, 1)}), "
		  . "cas_merge('$t->{name}', $row, ${\patch($t, 0)})";
	}
	return (alter($t)) if $how == 9 && chance(0.5);
	return (plain($t)) if $how == 9;
	return ('SET ROLE ' . one(@roles), $call->(), $call->(), 'RESET ROLE');
}

# The statements of a script: the table, what is done to it, what came of it.
sub script
{
	my ($t, $blocks) = @_;
	my $name = $t->{name};
	my $order = join ', ', map { $_->[0] } @{ $t->{key_columns} };
	my @sql = setup_sql($t);

	if (chance(0.1))
	{
		# who has no need of the table's name; before there are plans
		my ($key, $this) = (any_key($t), "current_setting('test.this')::oid::regclass");
		push @sql, "GRANT ALL ON $name TO $outsider",
		  "SELECT set_config('test.this', '$name'::regclass::oid::text, false) <> ''",
		  "SET ROLE $outsider", "SELECT * FROM cas_get($this, $key->{ids}[0])",
		  "SELECT cas_merge($this, $key->{ids}[0], '{}')", 'RESET ROLE';
	}
	push @sql, block($t) foreach 1 .. $blocks;
	push @sql, 'ROLLBACK', 'RESET ROLE';
	push @sql, "SELECT $order, v, pg_column_size(r.*), md5(r::text), left(r::text, 300) FROM $name AS r ORDER BY 1";

	# what each index has, and what it finds
	push @sql, "SELECT i.relname, bt_index_check(i.oid, true) FROM pg_index AS x JOIN pg_class AS i ON i.oid = indexrelid
		JOIN pg_am AS a ON a.oid = relam WHERE indrelid = '$name'::regclass AND amname = 'btree' AND i.relkind = 'i' ORDER BY 1";
	push @sql, 'SET enable_seqscan = off', "SELECT count(*) FROM $name WHERE $_->{where}" foreach @{ $t->{rows} };
	push @sql, map { "SELECT count(*) FROM $name WHERE $_" }
	  ($t->{document} ? (q(doc @> '{"n": 1}'), q(doc @> '{"n": 3}'), q(doc ->> 'n' = '5')) : ()),
	  map {
		my ($c, $type) = @$_;
		$c eq 'tags' ? q(tags @> '{a}') : $c eq 'j' ? q(j @> '{"a": 1}') : $c eq 'r' ? 'r @> 1'
		  : $type =~ /^(int|numeric|positive|present)/ ? ("$c = 1", "$c = 2") : ()
	  } @{ $t->{columns} };
	return @sql;
}

1;
