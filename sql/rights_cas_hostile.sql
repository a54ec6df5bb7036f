-- Claim: a hostile role that may make tables, functions and triggers of its
-- own, and has the rights that a writer has, gets nothing from pg_cas that it
-- did not have, and breaks nothing for others.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA rights_own;
CREATE ROLE regress_cas_app;
CREATE ROLE regress_cas_mallory;
CREATE ROLE regress_cas_other;
CREATE ROLE regress_cas_watch IN ROLE pg_monitor;
CREATE SCHEMA rights_app AUTHORIZATION regress_cas_app;
CREATE SCHEMA rights_mallory AUTHORIZATION regress_cas_mallory;
GRANT USAGE ON SCHEMA rights_app, rights_mallory TO PUBLIC;

SET ROLE regress_cas_app;
CREATE TABLE rights_app.owner (id int PRIMARY KEY);
CREATE TABLE rights_app.doc (id text PRIMARY KEY,
    owner int REFERENCES rights_app.owner ON DELETE SET NULL, d jsonb);
CREATE TABLE rights_app.private (id int PRIMARY KEY);
CREATE SEQUENCE rights_app.secret START 100;
INSERT INTO rights_app.owner VALUES (1), (2), (3);
INSERT INTO rights_app.doc VALUES ('a', 1, '{}'), ('b', 1, '{}');
SELECT cas_enable('rights_app.doc', payload_column => 'd', unversioned => 'reject');
SELECT cas_enable('rights_app.private');
GRANT SELECT, UPDATE, TRIGGER ON rights_app.doc TO regress_cas_mallory;

-- 1. cas_tables shows a role what it owns or has a privilege on, be it on one
-- column, and pg_monitor's members all.
RESET ROLE;
SET ROLE regress_cas_app;
SELECT rel FROM cas_tables ORDER BY rel::text;
SET ROLE regress_cas_mallory;
SELECT rel FROM cas_tables ORDER BY rel::text;
SET ROLE regress_cas_other;
SELECT rel FROM cas_tables ORDER BY rel::text;
RESET ROLE;
GRANT UPDATE (id) ON rights_app.private TO regress_cas_other;
SET ROLE regress_cas_other;
SELECT rel FROM cas_tables ORDER BY rel::text;
SET ROLE regress_cas_watch;
SELECT rel FROM cas_tables WHERE rel::text ~ '^rights_' ORDER BY rel::text;
RESET ROLE;
REVOKE UPDATE (id) ON rights_app.private FROM regress_cas_other;

-- The function below the view shows nothing of what has no guard.
SET ROLE regress_cas_other;
SELECT cas_internal.cas_table_settings(0);
RESET ROLE;
SELECT cas_internal.cas_table_settings(0);
SELECT cas_internal.cas_table_settings('pg_class');
SET ROLE regress_cas_other;
SELECT cas_guard();
SELECT cas_witness();
SELECT cas_truncate();
RESET ROLE;

-- 2. Guards made by hand, with arguments of no good form, on a table that
-- everybody may look at: a line in cas_tables, for everybody, that says what
-- is wrong, whole characters at that; and writing such a table fails.
SET ROLE regress_cas_mallory;
CREATE TABLE rights_mallory.t (id int PRIMARY KEY, v bigint NOT NULL DEFAULT 1, d jsonb);
GRANT SELECT ON rights_mallory.t TO PUBLIC;
CREATE FUNCTION rights_mallory.guard(VARIADIC arguments text[]) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    list text;
    written text;
BEGIN
    SELECT string_agg(quote_literal(a), ', ') INTO list FROM unnest(arguments) AS a;
    DROP TRIGGER IF EXISTS by_hand ON rights_mallory.t;
    EXECUTE format('CREATE TRIGGER by_hand BEFORE INSERT OR UPDATE
        ON rights_mallory.t FOR EACH ROW EXECUTE FUNCTION cas_guard(%s)', list);
    BEGIN
        INSERT INTO rights_mallory.t VALUES (1, 1, '{}');
        written := 'written';
        DELETE FROM rights_mallory.t;
    EXCEPTION WHEN OTHERS THEN
        written := SQLSTATE;
    END;
    RETURN written;
END
$$;
CREATE TABLE rights_mallory.bad (n int, arguments text[]);
INSERT INTO rights_mallory.bad VALUES
    (1, '{x}'), (2, '{""}'), (3, '{=}'), (4, '{version_column=}'),
    (5, '{version_column=nothing}'), (6, '{version_column=d}'),
    (7, '{version_column=v,payload_column=v}'),
    (8, '{version_column=v,writers=}'),
    (9, '{version_column=v,sequence=}'),
    (10, '{version_column=v,sequence=a.b.c.d}'),
    (11, '{version_column=v,"sequence=\"a"}'),
    (12, '{version_column=v,sequence=nowhere.seq}'),
    (13, '{version_column=v,sequence=other_database.public.seq}'),
    (14, '{version_column=v,sequence=rights_mallory.t}'),
    (15, '{version_column=v,"ignore_columns=\"d"}'),
    (16, '{version_column=v,"ignore_columns=\"a\"b"}'),
    (17, '{version_column=v,"version_path=\"a\""}'),
    (18, '{version_column=v,payload_column=d,"version_path=\"a"}'),
    (19, '{version_column=v,enforce=maybe}'),
    (20, ARRAY['xx' || repeat('é', 1000)]),
    (21, ARRAY['x' || repeat('é', 1000)]),
    (22, ARRAY['version_column=' || repeat('é', 1000)]);
GRANT SELECT ON rights_mallory.bad TO PUBLIC;
RESET ROLE;
-- What a role sees of the table: one line, and a problem in good encoding.
CREATE FUNCTION rights_own.seen_by(who text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    PERFORM set_config('role', who, true);
    SELECT CASE WHEN problem IS NULL THEN 'well'
        WHEN convert_from(convert_to(problem, 'UTF8'), 'UTF8') = problem
            THEN 'problem' END INTO STRICT answer
    FROM cas_tables WHERE rel = 'rights_mallory.t'::regclass;
    PERFORM set_config('role', 'none', true);
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN concat_ws(' ', SQLSTATE, SQLERRM);
END
$$;
DO $$
DECLARE
    b record;
    written text;
    seen text;
BEGIN
    FOR b IN SELECT * FROM rights_mallory.bad ORDER BY n LOOP
        PERFORM set_config('role', 'regress_cas_mallory', true);
        written := rights_mallory.guard(VARIADIC b.arguments);
        PERFORM set_config('role', 'none', true);
        seen := rights_own.seen_by('regress_cas_other');
        RAISE INFO '% %: %, seen as %', b.n, left(b.arguments::text, 50),
            CASE WHEN written = 'written' THEN 'WRITTEN' ELSE 'refused' END, seen;
    END LOOP;
END
$$;

-- 3. What a guard made by hand calls its sequence is neither run, nor drawn
-- from, nor dropped, whoever takes the guard off or changes its settings.
SET ROLE regress_cas_mallory;
SELECT rights_mallory.guard('version_column=v', 'writers=echo',
    'sequence=x; CREATE TABLE rights_mallory.pwned AS SELECT current_user; --') <> 'written' AS refused;
RESET ROLE;
SELECT cas_disable('rights_mallory.t');
SET ROLE regress_cas_mallory;
SELECT rights_mallory.guard('version_column=v', 'writers=echo',
    'sequence=x; CREATE TABLE rights_mallory.pwned AS SELECT current_user; --') <> 'written' AS refused;
RESET ROLE;
SELECT cas_enable('rights_mallory.t', 'v');
SELECT cas_disable('rights_mallory.t');
SELECT to_regclass('rights_mallory.pwned') IS NULL AS nothing_was_run;
GRANT USAGE ON SCHEMA rights_app TO regress_cas_mallory;
SET ROLE regress_cas_mallory;
SELECT rights_mallory.guard('version_column=v', 'writers=echo',
    'sequence=rights_app.secret') <> 'written' AS refused;
RESET ROLE;
SET ROLE regress_cas_mallory;
CREATE TRIGGER trunc BEFORE TRUNCATE ON rights_mallory.t EXECUTE FUNCTION cas_truncate();
TRUNCATE rights_mallory.t RESTART IDENTITY;
RESET ROLE;
SELECT last_value, is_called FROM rights_app.secret;
SELECT seqstart FROM pg_sequence WHERE seqrelid = 'rights_app.secret'::regclass;
SELECT cas_disable('rights_mallory.t');
SELECT to_regclass('rights_app.secret') AS still_there;
-- A guard on somebody else's table, by the right TRIGGER on it, is no way
-- either.
SET ROLE regress_cas_app;
SELECT cas_disable('rights_app.doc');
SET ROLE regress_cas_mallory;
CREATE TRIGGER by_hand BEFORE INSERT OR UPDATE ON rights_app.doc FOR EACH ROW
    EXECUTE FUNCTION cas_guard('version_column=resource_version', 'writers=echo',
        'sequence=x; GRANT regress_cas_app TO regress_cas_mallory; CREATE TABLE rights_app.pwned (); --');
SET ROLE regress_cas_app;
SELECT cas_enable('rights_app.doc', payload_column => 'd', unversioned => 'reject');
SELECT to_regclass('rights_app.pwned') IS NULL AS nothing_was_run;
SELECT unversioned, versions, problem FROM cas_tables WHERE rel = 'rights_app.doc'::regclass;
RESET ROLE;

-- 4. A plain UPDATE that names no version does not pass on this table, from
-- within a foreign key's action on tables of one's own neither.
SET ROLE regress_cas_mallory;
UPDATE rights_app.doc SET owner = 2;
CREATE TABLE rights_mallory.parent (id int PRIMARY KEY);
CREATE TABLE rights_mallory.child (id int REFERENCES rights_mallory.parent ON DELETE CASCADE);
INSERT INTO rights_mallory.parent VALUES (1);
INSERT INTO rights_mallory.child VALUES (1);
CREATE FUNCTION rights_mallory.write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE rights_app.doc SET owner = 3;
    RETURN old;
END
$$;
CREATE TRIGGER write BEFORE DELETE ON rights_mallory.child
    FOR EACH ROW EXECUTE FUNCTION rights_mallory.write();
DELETE FROM rights_mallory.parent;
RESET ROLE;
-- The key's own action passes, and the version tells.
DELETE FROM rights_app.owner WHERE id = 1;
SELECT id, owner, resource_version FROM rights_app.doc ORDER BY id;

-- 5. Triggers on the table that write to it while a swap is announced to the
-- guard: to another row, to the same row, to the same row in place of the
-- swap, and after it.
SET ROLE regress_cas_mallory;
CREATE FUNCTION rights_mallory.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() > 1 THEN
        RETURN new;
    END IF;
    EXECUTE format('UPDATE rights_app.doc SET d = ''{"by": "mallory"}'' WHERE id = %L', TG_ARGV[0]);
    RETURN CASE WHEN TG_ARGV[1] = 'instead' THEN NULL ELSE new END;
END
$$;
CREATE FUNCTION rights_mallory.with_trigger(kind text, target text, how text, statement text)
    RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE format('CREATE TRIGGER meddle %s ON rights_app.doc %s EXECUTE FUNCTION rights_mallory.meddle(%L, %L)',
        kind, CASE WHEN how = 'statement' THEN '' ELSE 'FOR EACH ROW' END, target, how);
    BEGIN
        EXECUTE statement INTO answer;
        answer := concat_ws('; ', answer, (SELECT string_agg(concat_ws(' ', id, resource_version, d), ', ' ORDER BY id)
            FROM rights_app.doc WHERE d ->> 'by' = 'mallory'));
        RAISE EXCEPTION USING ERRCODE = 'ZZZZZ', MESSAGE = answer;
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE SQLSTATE WHEN 'ZZZZZ' THEN SQLERRM ELSE SQLSTATE END;
    END;
END
$$;
RESET ROLE;
CREATE TABLE rights_own.result (n serial, kind text, target text, how text, answer text);
DO $$
DECLARE
    c record;
    version bigint := (SELECT resource_version FROM rights_app.doc WHERE id = 'a');
    answer text;
BEGIN
    FOR c IN SELECT * FROM unnest(
        '{BEFORE UPDATE,BEFORE UPDATE,BEFORE UPDATE,BEFORE UPDATE,AFTER UPDATE,AFTER UPDATE,BEFORE UPDATE,BEFORE UPDATE}'::text[],
        '{b,a,b,a,b,a,b,a}'::text[],
        '{row,row,instead,instead,row,row,statement,statement}'::text[]) AS c (kind, target, how)
    LOOP
        BEGIN
            PERFORM set_config('role', 'regress_cas_mallory', true);
            answer := rights_mallory.with_trigger(c.kind, c.target, c.how,
                format('SELECT cas_try_update(''rights_app.doc'', ''a'', %s, ''{"n": 1}'')', version));
            RAISE EXCEPTION USING ERRCODE = 'YYYYY';
        EXCEPTION WHEN SQLSTATE 'YYYYY' THEN
            INSERT INTO rights_own.result (kind, target, how, answer)
                VALUES (c.kind, c.target, c.how, answer);
        END;
    END LOOP;
END
$$;
-- None of mallory's own writes gets through, not even one to the very row that
-- the swap has announced.
SELECT kind, target, how, answer FROM rights_own.result ORDER BY n;
-- After the swap nothing is announced any more.
SET ROLE regress_cas_mallory;
SELECT cas_update('rights_app.doc', 'a', 2, '{"n": 2}');
UPDATE rights_app.doc SET d = '[]' WHERE id = 'a';
SELECT cas_update('rights_app.doc', 'a', 1, '{"n": 3}');
UPDATE rights_app.doc SET d = '[]' WHERE id = 'a';
SELECT cas_try_update('rights_app.doc', 'zz', 1, '{"n": 3}');
UPDATE rights_app.doc SET d = '[]' WHERE id = 'a';
-- Nor by a function that cas_apply calls, before it writes.
CREATE FUNCTION rights_mallory.apply(payload jsonb, args jsonb) RETURNS jsonb
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE rights_app.doc SET d = '[]' WHERE id = args ->> 'id';
    RETURN '{}';
END
$$;
SELECT cas_apply('rights_app.doc', 'a', 'rights_mallory.apply(jsonb,jsonb)', '{"id": "a"}');
SELECT cas_apply('rights_app.doc', 'a', 'rights_mallory.apply(jsonb,jsonb)', '{"id": "b"}');
SELECT id, resource_version, d FROM rights_app.doc ORDER BY id;
RESET ROLE;

-- 6. Nothing that is made in the extension's own schema is called in place of
-- the extension's functions.
SELECT extnamespace::regnamespace AS ext FROM pg_extension WHERE extname = 'pg_cas' \gset
GRANT CREATE ON SCHEMA :ext TO regress_cas_mallory;
SET ROLE regress_cas_mallory;
SELECT format($$CREATE FUNCTION %s.cas_differs(%s) RETURNS boolean LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION ''captured''; END'$$, :'ext', a)
FROM unnest('{"integer, integer","bigint, bigint","text, text","jsonb, jsonb","record, record"}'::text[]) AS a \gexec
RESET ROLE;
CREATE TABLE rights_own.cols (id int PRIMARY KEY, n int, b bigint, t text, j jsonb);
SELECT cas_enable('rights_own.cols');
INSERT INTO rights_own.cols VALUES (1, 1, 1, 'x', '{}');
SELECT cas_update('rights_own.cols', 1, 1, '{"n": 2, "b": 2, "t": "y", "j": []}');
SELECT format('DROP FUNCTION %s', oid::regprocedure) FROM pg_proc
WHERE proname = 'cas_differs' AND proowner = 'regress_cas_mallory'::regrole \gexec
REVOKE CREATE ON SCHEMA :ext FROM regress_cas_mallory;

DROP SCHEMA rights_own, rights_mallory, rights_app CASCADE;
DROP ROLE regress_cas_app, regress_cas_mallory, regress_cas_other, regress_cas_watch;
