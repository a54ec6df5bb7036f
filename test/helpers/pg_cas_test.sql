-- Helpers of the regression and isolation tests, in a schema of their own.
--
-- Nobody installs this.  Each suite's database gets it at its start: in the
-- regression tests by \i (sql/pg_cas_test.sql), in the isolation tests as a
-- setup block of a spec that make writes (Makefile), where no closing brace may
-- stand; TAP tests ask for it with pg_cas_helpers() (test/perl/PgCas.pm).
CREATE SCHEMA cas_test;
GRANT USAGE ON SCHEMA cas_test TO PUBLIC;
DO $$ BEGIN
	EXECUTE format('ALTER DATABASE %I SET search_path = "$user", public, cas_test',
		current_database());
END $$;
SET check_function_bodies = off;	-- tables of tests are named in them

-- ----------
-- For all
-- ----------

-- The key number n.
CREATE FUNCTION cas_test.k(n int) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS $$ SELECT lpad(n::text, 32, '0')::uuid $$;

-- What a command raises, in full.
CREATE FUNCTION cas_test.raises(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text; s text; t text; c text; n text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
		s = SCHEMA_NAME, t = TABLE_NAME, c = COLUMN_NAME, n = CONSTRAINT_NAME;
	IF SQLSTATE LIKE 'PT%' AND detail > '' THEN
		detail = detail::jsonb;
	END IF;
	RETURN concat_ws(E'\n', SQLSTATE || ' ' || message,
		'  detail: ' || nullif(detail, ''), '  hint: ' || nullif(hint, ''),
		'  on: ' || nullif(concat_ws(' ', nullif(s, ''), nullif(t, ''),
			nullif(c, ''), nullif(n, '')), ''));
END
$$;

-- What a statement that returns one value answers to a role, or the SQLSTATE and
-- the DETAIL of what it raises.  Nothing of it is kept.
CREATE FUNCTION cas_test.try_as(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text; detail text;
BEGIN
	BEGIN
		PERFORM set_config('role', who, true);
		EXECUTE statement INTO answer;
		RAISE EXCEPTION USING ERRCODE = 'ZZZZZ', MESSAGE = coalesce(answer, 'null');
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		answer := CASE SQLSTATE WHEN 'ZZZZZ' THEN SQLERRM
			ELSE concat_ws(' ', SQLSTATE, nullif(detail, '')) END;
	END;
	RETURN answer;
END
$$;

-- Runs a query and tells each row that it returns in one line, a NOTICE, where
-- a table would take five:
--
--   CALL say($$SELECT outcome, value FROM alloc_try_int('pool', k(1))$$);
--   s2: NOTICE:  outcome allocated, value 0
CREATE PROCEDURE cas_test.say(query text) LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN EXECUTE query LOOP
		RAISE NOTICE '%', (SELECT string_agg(format('%s %s', name,
				coalesce(value, 'null')), ', ' ORDER BY n)
			FROM json_each_text(row_to_json(r)) WITH ORDINALITY AS c (name, value, n));
	END LOOP;
	IF NOT FOUND THEN
		RAISE NOTICE 'no row';
	END IF;
END $$;

-- Takes the snapshot of a transaction whose isolation level lets it keep one.
CREATE PROCEDURE cas_test.take_snapshot() LANGUAGE sql AS 'SELECT 1';

-- A spec's own oracle says "ok" or what is wrong.
CREATE PROCEDURE cas_test.is_ok(what text) LANGUAGE plpgsql AS $$
BEGIN
	IF what IS DISTINCT FROM 'ok' THEN
		RAISE EXCEPTION '%', what;
	END IF;
END $$;

-- ----------
-- What sessions were told of versioned rows
-- ----------

CREATE FUNCTION cas_test.by(who text) RETURNS jsonb LANGUAGE sql IMMUTABLE
	AS 'SELECT jsonb_build_object(who, 1)';
CREATE FUNCTION cas_test.add(jsonb, jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
	AS 'SELECT $1 || $2';

-- Make the table log, of what sessions were told of the rows of the table obj,
-- in the transactions that they were told in.  n is last so that it is drawn
-- after the answer is there.
CREATE PROCEDURE cas_test.log_answers() LANGUAGE sql AS $$
	CREATE TABLE log (who text, outcome text, id text, expected bigint,
		version bigint, payload jsonb, new_id text, n serial)
$$;

-- Replays the log: each answer must have been true when it was given, and the
-- table must be what the winners have made of it.  Says nothing if it is so.  A
-- payload is the column doc or, if there is none, names columns, which are set.
-- What a policy hides has "hidden" in it.
CREATE PROCEDURE cas_test.oracle(versions text DEFAULT 'row') LANGUAGE plpgsql AS $$
DECLARE
	said record;
	columned boolean := NOT EXISTS (SELECT FROM pg_attribute
		WHERE attrelid = 'obj'::regclass AND attname = 'doc');
	truth jsonb := jsonb_build_object();	-- id: [version, payload]
	top bigint := 0;						-- the greatest version
	next bigint;							-- what this answer's may be
	was jsonb;
	old bigint;
	now jsonb;
	fits boolean;
	holds boolean;
BEGIN
	FOR said IN SELECT * FROM log ORDER BY n LOOP
		was := truth -> CASE said.outcome WHEN 'exists'
			THEN coalesce(said.new_id, said.id) ELSE said.id END;
		old := was ->> 0;
		fits := coalesce(said.expected, old) = old;
		next := CASE
			WHEN versions = 'table' THEN greatest(said.version, top + 1)
			WHEN was IS NULL THEN coalesce(said.expected, 1)
			ELSE old + 1 END;
		now := jsonb_build_array(said.version, CASE
			WHEN was IS NOT NULL AND (columned OR said.outcome = 'merged')
			THEN (was -> 1) || coalesce(said.payload, jsonb_build_object())
			ELSE coalesce(said.payload, was -> 1) END);
		holds := CASE said.outcome
			WHEN 'created' THEN was IS NULL AND said.version = next
			WHEN 'updated' THEN said.version = next AND fits
			WHEN 'merged' THEN said.version = next AND fits
			WHEN 'renamed' THEN said.version = next AND fits
				AND now -> 1 = was -> 1 AND NOT truth ? said.new_id
			WHEN 'unchanged' THEN now = was AND fits
			WHEN 'deleted' THEN now = was AND fits
			WHEN 'conflict' THEN now = was AND NOT fits
			WHEN 'exists' THEN now = was
				OR was -> 1 ? 'hidden' AND said.version IS NULL
			WHEN 'missing' THEN was IS NULL OR was -> 1 ? 'hidden'
		END;
		IF holds IS NOT TRUE THEN
			RAISE EXCEPTION '%', format('%s was told %s %s of what was %s', said.who,
				said.outcome, now, was);
		END IF;
		IF said.outcome IN ('deleted', 'renamed') THEN
			truth := truth - said.id;
		END IF;
		IF said.outcome IN ('created', 'updated', 'merged', 'renamed') THEN
			truth := truth ||
				jsonb_build_object(coalesce(said.new_id, said.id), now);
			top := said.version;
		END IF;
	END LOOP;
	SELECT coalesce(jsonb_object_agg(id, jsonb_build_array(resource_version,
			CASE WHEN columned THEN to_jsonb(obj) - 'id' - 'resource_version'
			ELSE to_jsonb(obj) -> 'doc' END)), jsonb_build_object())
		FROM obj INTO now;
	IF now <> truth THEN
		RAISE EXCEPTION '%', format('the table has %s, the answers say %s', now, truth);
	END IF;
END $$;

-- ----------
-- What sessions were told by cas_txn
-- ----------

CREATE FUNCTION cas_test.one_more(jsonb, jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE
	AS $$SELECT jsonb_set($1, ARRAY['n'], to_jsonb(($1 ->> 'n')::int + 1))$$;
-- The same, held up by whoever has an advisory lock.
CREATE FUNCTION cas_test.hold(doc jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_advisory_xact_lock(4711);
	RETURN cas_test.one_more(doc, NULL);
END $$;

-- A request in a shorter form: comparisons such as 'a=1 b=exists c=absent',
-- operations such as 'bump a, create b, rename c d'. bump adds 1 by apply,
-- and hold does so when it is let.
CREATE FUNCTION cas_test.operations(list text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_object('table', 'obj', 'id', w[2]) || CASE w[1]
		WHEN 'bump' THEN jsonb_build_object('op', 'apply', 'fn', 'cas_test.one_more(jsonb, jsonb)')
		WHEN 'hold' THEN jsonb_build_object('op', 'apply', 'fn', 'cas_test.hold(jsonb, jsonb)')
		WHEN 'rename' THEN jsonb_build_object('op', 'rename', 'new_id', w[3])
		WHEN 'create' THEN jsonb_build_object('op', 'create', 'payload', jsonb_build_object('n', 0))
		WHEN 'put' THEN jsonb_build_object('op', 'put', 'payload', jsonb_build_object('n', -1))
		ELSE jsonb_build_object('op', w[1]) END ORDER BY n), '[]')
	FROM regexp_split_to_table(nullif(list, ''), ', ') WITH ORDINALITY AS o (o, n),
		regexp_split_to_array(o, ' ') w
$$;
CREATE FUNCTION cas_test.request(compare text, success text, failure text DEFAULT '',
	OUT c jsonb, OUT s jsonb, OUT f jsonb) LANGUAGE sql IMMUTABLE AS $$
	SELECT coalesce(jsonb_agg(jsonb_build_object('table', 'obj', 'id', w[1]) || CASE
			WHEN w[2] IN ('exists', 'absent') THEN jsonb_build_object(w[2], true)
			ELSE jsonb_build_object('version', w[2]::bigint) END ORDER BY n), '[]'),
		cas_test.operations(success),
		cas_test.operations(failure)
	FROM regexp_split_to_table(nullif(compare, ''), ' ') WITH ORDINALITY AS c (c, n),
		regexp_split_to_array(c, '=') w
$$;

-- Make the table log, of what the sessions were told of the table obj, in the
-- transactions that they were told in; n is drawn when the answer is there.
CREATE PROCEDURE cas_test.log_txns() LANGUAGE sql AS $$
	CREATE TABLE log (who text, compare jsonb, ops jsonb, answer jsonb, n serial)
$$;
CREATE FUNCTION cas_test.told(who text, c jsonb, s jsonb, f jsonb, answer jsonb) RETURNS text LANGUAGE sql AS $$
	INSERT INTO log VALUES (who, c, CASE WHEN (answer ->> 'succeeded')::boolean THEN s ELSE f END, answer);
	SELECT concat_ws(': ', CASE answer ->> 'succeeded' WHEN 'true' THEN 'success' ELSE 'failure' END,
		string_agg(concat_ws(' ', r ->> 'outcome', r ->> 'id', r ->> 'version'), ', '))
	FROM jsonb_array_elements(answer -> 'results') r
$$;
-- The same for a function on one row.
CREATE FUNCTION cas_test.tried(who text, op text, result anyelement) RETURNS text LANGUAGE sql AS $$
	INSERT INTO log VALUES (who, '[]', cas_test.operations(op), jsonb_build_object('succeeded', true,
		'compare', '[]'::jsonb, 'results', jsonb_build_array(to_jsonb(result))));
	SELECT concat_ws(' ', r ->> 'outcome', r ->> 'id', r ->> 'version') FROM to_jsonb(result) AS r
$$;

-- Replays the log: each answer must have been the truth when it was given, and
-- the table must be what the answers have made of it, having begun with these
-- ids.  Says nothing if it is so.
CREATE PROCEDURE cas_test.oracle_txn(ids text) LANGUAGE plpgsql AS $$
DECLARE
	said record;
	truth jsonb := (SELECT jsonb_object_agg(id, 1) FROM regexp_split_to_table(ids, ' ') id);
	c jsonb;
	r jsonb;
	i int;
	was bigint;
	v bigint;
	holds boolean;
	every boolean;
	now jsonb;
BEGIN
	FOR said IN SELECT * FROM log ORDER BY n LOOP
		every := true;
		FOR c, i IN SELECT e, o - 1 FROM jsonb_array_elements(said.answer -> 'compare') WITH ORDINALITY AS _ (e, o) LOOP
			was := truth ->> (c ->> 'id');
			holds := coalesce(was = (said.compare -> i ->> 'version')::bigint, false)
				OR (said.compare -> i ? 'exists' AND was IS NOT NULL)
				OR (said.compare -> i ? 'absent' AND was IS NULL);
			IF was IS DISTINCT FROM (c ->> 'version')::bigint OR holds IS DISTINCT FROM (c ->> 'ok')::boolean THEN
				RAISE EXCEPTION '%', format('%s was told %s when the version was %s', said.who, c, coalesce(was::text, 'none'));
			END IF;
			every := every AND holds;
		END LOOP;
		IF every IS DISTINCT FROM (said.answer ->> 'succeeded')::boolean
			OR jsonb_array_length(said.ops) <> jsonb_array_length(said.answer -> 'results') THEN
			RAISE EXCEPTION '%', format('%s had the wrong list done', said.who);
		END IF;
		FOR r, i IN SELECT e, o - 1 FROM jsonb_array_elements(said.answer -> 'results') WITH ORDINALITY AS _ (e, o) LOOP
			c := said.ops -> i;
			was := truth ->> (c ->> 'id');
			v := r ->> 'version';
			holds := CASE r ->> 'outcome'
				WHEN 'created' THEN was IS NULL AND v = 1
				WHEN 'updated' THEN v = was + 1
				WHEN 'unchanged' THEN v = was
				WHEN 'found' THEN v = was
				WHEN 'conflict' THEN v = was
				WHEN 'deleted' THEN v = was
				WHEN 'missing' THEN was IS NULL AND v IS NULL
				WHEN 'exists' THEN v = (truth ->> coalesce(c ->> 'new_id', c ->> 'id'))::bigint
				WHEN 'renamed' THEN v = was + 1 AND NOT truth ? (c ->> 'new_id')
			END;
			IF holds IS NOT TRUE THEN
				RAISE EXCEPTION '%', format('%s was told %s when the version was %s', said.who, r, coalesce(was::text, 'none'));
			END IF;
			IF r ->> 'outcome' IN ('deleted', 'renamed') THEN
				truth := truth - (c ->> 'id');
			END IF;
			IF r ->> 'outcome' IN ('created', 'updated', 'renamed') THEN
				truth := truth || jsonb_build_object(coalesce(c ->> 'new_id', c ->> 'id'), v);
			END IF;
		END LOOP;
	END LOOP;
	SELECT coalesce(jsonb_object_agg(id, resource_version), jsonb_build_object()) FROM obj INTO now;
	IF now <> truth THEN
		RAISE EXCEPTION '%', format('the table has %s, the answers say %s', now, truth);
	END IF;
END $$;

-- ----------
-- Pools and locks
-- ----------

-- All pools are sound.  Says nothing if it is so.
CREATE PROCEDURE cas_test.oracle_alloc() LANGUAGE plpgsql AS $$
DECLARE
	wrong text := (SELECT string_agg(v::text, ', ') FROM alloc_verify() AS v);
BEGIN
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION '%', wrong;
	END IF;
END $$;

-- Release all units and drop all pools.
CREATE PROCEDURE cas_test.drop_pools() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM alloc_release(pool, key) FROM alloc_units;
	-- first those that are no other pool's parent
	WHILE EXISTS (SELECT FROM alloc_pools) LOOP
		PERFORM alloc_pool_drop(pool) FROM alloc_pools AS p
		WHERE NOT EXISTS (SELECT FROM alloc_pools AS c WHERE c.parent = p.pool);
	END LOOP;
END $$;

-- Nobody holds anything or is in line.  Says nothing if it is so.
CREATE PROCEDURE cas_test.oracle_locks() LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM lock_holders) THEN
		RAISE EXCEPTION 'still held';
	ELSIF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory') THEN
		RAISE EXCEPTION 'still in line';
	END IF;
END $$;
RESET check_function_bodies;
