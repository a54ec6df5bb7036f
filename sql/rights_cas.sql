-- Claim: the functions act with the caller's privileges, column by column.
-- Each works with just the privileges that its statement would need, and with
-- any one of them missing raises 42501.  Who may not read a column does not
-- learn its values from answers or errors.
CREATE SCHEMA rights_cas;
SET search_path = rights_cas, public, cas_test;
\set SHOW_CONTEXT never
CREATE ROLE regress_cas_clerk;
CREATE ROLE regress_cas_blind;
GRANT USAGE ON SCHEMA rights_cas TO regress_cas_clerk, regress_cas_blind;

CREATE TABLE doc (
    id text PRIMARY KEY,
    resource_version bigint NOT NULL DEFAULT 1,
    d jsonb,
    secret text DEFAULT 'hidden');
CREATE TABLE col (
    id int PRIMARY KEY,
    resource_version int NOT NULL DEFAULT 1,
    a int,
    j jsonb,
    email text UNIQUE,
    secret text DEFAULT 'hidden');
SELECT cas_enable('doc', payload_column => 'd');
SELECT cas_enable('col');
INSERT INTO doc VALUES ('x', 5, '{"n": 1}'), ('y', 3, '{"n": 2}');
INSERT INTO col VALUES (1, 5, 10, '{}', 'one@example.org'),
    (2, 3, 20, '{}', 'two@example.org');
CREATE FUNCTION inc(payload jsonb, args jsonb) RETURNS jsonb
    LANGUAGE sql AS $$SELECT jsonb_set($1, '{n}', '7')$$;
REVOKE EXECUTE ON FUNCTION inc FROM PUBLIC;

-- With all the privileges named, the answer; then those that could be taken
-- away and the call still didn't raise 42501.
CREATE FUNCTION needs(statement text, VARIADIC privileges text[],
        OUT answer text, OUT superfluous text[])
    LANGUAGE plpgsql AS $$
DECLARE
    privilege text;
BEGIN
    FOREACH privilege IN ARRAY privileges LOOP
        EXECUTE format('GRANT %s TO regress_cas_clerk', privilege);
    END LOOP;
    answer := try_as('regress_cas_clerk', statement);
    FOREACH privilege IN ARRAY privileges LOOP
        EXECUTE format('REVOKE %s FROM regress_cas_clerk', privilege);
        IF try_as('regress_cas_clerk', statement) !~ '^42501' THEN
            superfluous := superfluous || privilege;
        END IF;
        EXECUTE format('GRANT %s TO regress_cas_clerk', privilege);
    END LOOP;
    FOREACH privilege IN ARRAY privileges LOOP
        EXECUTE format('REVOKE %s FROM regress_cas_clerk', privilege);
    END LOOP;
END
$$;

-- The payload is a document.  The version is never granted for UPDATE.
SELECT f.call, n.*
FROM (VALUES
    (1, $$cas_get('doc', 'x')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc}'::text[]),
    (2, $$cas_lock('doc', '{x}'::text[])$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,UPDATE (d) ON doc}'),
    (3, $$cas_lock('doc', '{x}'::text[], 'share')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,UPDATE (d) ON doc}'),
    (4, $$cas_create('doc', 'z', '{}')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,INSERT (id) ON doc,INSERT (d) ON doc}'),
    (5, $$cas_update('doc', 'x', 5, '{}')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,UPDATE (d) ON doc}'),
    (6, $$cas_update('doc', 'x', 4, '{}')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,UPDATE (d) ON doc}'),
    (7, $$cas_patch('doc', 'x', 5, '{"m": 1}')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,SELECT (d) ON doc,UPDATE (d) ON doc}'),
    (8, $$cas_delete('doc', 'x', 5)$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,DELETE ON doc}'),
    (9, $$cas_rename('doc', 'x', 5, 'z')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,UPDATE (id) ON doc}'),
    (10, $$cas_merge('doc', 'x', '{"m": 1}')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,SELECT (d) ON doc,UPDATE (d) ON doc}'),
    (11, $$cas_apply('doc', 'x', 'inc(jsonb, jsonb)')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,SELECT (d) ON doc,UPDATE (d) ON doc,"EXECUTE ON FUNCTION inc"}'),
    (12, $$cas_put('doc', 'x', '{}')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,UPDATE (d) ON doc}'),
    (13, $$cas_put('doc', 'z', '{}')$$, '{SELECT (id) ON doc,SELECT (resource_version) ON doc,UPDATE (d) ON doc,INSERT (id) ON doc,INSERT (d) ON doc}')
) AS f (n, call, privileges),
LATERAL needs('SELECT ' || f.call, VARIADIC f.privileges) AS n
ORDER BY f.n;

-- The payload is the row's columns: only those it names are needed, and a
-- patch that sets plain values reads none.
SELECT f.call, n.*
FROM (VALUES
    (1, $$cas_create('col', 3, '{"a": 1}')$$, '{SELECT (id) ON col,SELECT (resource_version) ON col,INSERT (id) ON col,INSERT (a) ON col}'::text[]),
    (2, $$cas_update('col', 1, 5, '{"a": 1}')$$, '{SELECT (id) ON col,SELECT (resource_version) ON col,UPDATE (a) ON col}'),
    (3, $$cas_patch('col', 1, 5, '{"a": 1}')$$, '{SELECT (id) ON col,SELECT (resource_version) ON col,UPDATE (a) ON col}'),
    (4, $$cas_merge('col', 1, '{"a": 1}')$$, '{SELECT (id) ON col,SELECT (resource_version) ON col,UPDATE (a) ON col}'),
    (5, $$cas_put('col', 1, '{"a": 1}')$$, '{SELECT (id) ON col,SELECT (resource_version) ON col,UPDATE (a) ON col}'),
    (6, $$cas_delete('col', 1, 5)$$, '{SELECT (id) ON col,SELECT (resource_version) ON col,DELETE ON col}'),
    (7, $$cas_rename('col', 1, 5, 3)$$, '{SELECT (id) ON col,SELECT (resource_version) ON col,UPDATE (id) ON col}')
) AS f (n, call, privileges),
LATERAL needs('SELECT ' || f.call, VARIADIC f.privileges) AS n
ORDER BY f.n;

-- A column that was not granted cannot be written by naming it.
GRANT SELECT (id, resource_version), UPDATE (a) ON col TO regress_cas_clerk;
SELECT try_as('regress_cas_clerk', $$SELECT cas_update('col', 1, 5, '{"a": 1, "secret": "x"}')$$);
SELECT try_as('regress_cas_clerk', $$SELECT cas_update('col', 1, 5, '{"resource_version": 9}')$$);

-- Without SELECT on all of it, the payload in answers is null; the caller
-- still wins and loses.
SELECT c AS call, try_as('regress_cas_clerk', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_get('col', 1)$$,
    $$cas_try_update('col', 1, 5, '{"a": 1}')$$,
    $$cas_try_update('col', 1, 4, '{"a": 1}')$$,
    $$cas_update('col', 1, 4, '{"a": 1}')$$,
    $$cas_try_update('col', 9, 4, '{"a": 1}')$$]) AS c;

-- DELETE without UPDATE: the loser gets the row as last committed.
REVOKE ALL ON col FROM regress_cas_clerk;
REVOKE UPDATE (a) ON col FROM regress_cas_clerk;
GRANT SELECT, DELETE ON col TO regress_cas_clerk;
SELECT c AS call, try_as('regress_cas_clerk', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_try_delete('col', 1, 4)$$,
    $$cas_try_delete('col', 1, 5)$$,
    $$cas_try_delete('col', 9, 5)$$]) AS c;
REVOKE ALL ON col FROM regress_cas_clerk;

-- Who may write everything and read nothing gets 42501 from every call, and
-- no DETAIL; whether the row is there makes no difference.
GRANT INSERT, UPDATE, DELETE ON doc, col TO regress_cas_blind;
SELECT c AS call, try_as('regress_cas_blind', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_get('doc', 'x')$$,
    $$cas_lock('doc', '{x}'::text[])$$,
    $$cas_create('doc', 'z', '{}')$$,
    $$cas_try_create('doc', 'x', '{}')$$,
    $$cas_update('doc', 'x', 5, '{}')$$,
    $$cas_update('doc', 'nobody', 5, '{}')$$,
    $$cas_try_update('doc', 'x', 4, '{}')$$,
    $$cas_try_update('col', 1, 4, '{"a": 1}')$$,
    $$cas_try_patch('doc', 'x', 4, '{}')$$,
    $$cas_try_delete('doc', 'x', 4)$$,
    $$cas_try_rename('doc', 'x', 4, 'y')$$,
    $$cas_merge('doc', 'x', '{}')$$,
    $$cas_put('doc', 'x', '{}')$$]) AS c;

-- Nor does the guard tell him: a plain UPDATE that may not say WHERE.
SELECT try_as('regress_cas_blind', $$UPDATE doc SET resource_version = 99 RETURNING 'written'$$);
SELECT cas_enable('doc', payload_column => 'd', unversioned => 'reject');
SELECT try_as('regress_cas_blind', $$UPDATE doc SET d = '{}' RETURNING 'written'$$);
-- Who may read the id, and not the version, is told the id.
GRANT SELECT (id) ON doc TO regress_cas_blind;
SELECT try_as('regress_cas_blind', $$UPDATE doc SET resource_version = 99 WHERE id = 'x' RETURNING 'written'$$);
SELECT try_as('regress_cas_blind', $$UPDATE doc SET d = '{}' WHERE id = 'x' RETURNING 'written'$$);
GRANT SELECT (resource_version) ON doc TO regress_cas_blind;
SELECT try_as('regress_cas_blind', $$UPDATE doc SET resource_version = 99 WHERE id = 'x' RETURNING 'written'$$);
SELECT cas_enable('doc', unversioned => 'allow');

-- A unique violation shows the values only to those who may read them.
GRANT SELECT (id, resource_version) ON col TO regress_cas_blind;
SELECT try_as('regress_cas_blind', $$SELECT cas_update('col', 1, 5, '{"email": "two@example.org"}')$$);
GRANT SELECT (email) ON col TO regress_cas_blind;
SELECT try_as('regress_cas_blind', $$SELECT cas_update('col', 1, 5, '{"email": "two@example.org"}')$$);
-- The key that is taken is the one that the caller gave.
SELECT c AS call, try_as('regress_cas_blind', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_create('col', 2, '{}')$$,
    $$cas_try_create('col', 2, '{}')$$,
    $$cas_rename('col', 1, 5, 2)$$,
    $$cas_try_rename('col', 1, 5, 2)$$]) AS c;
REVOKE ALL ON doc, col FROM regress_cas_blind;
REVOKE SELECT (id, resource_version) ON doc FROM regress_cas_blind;
REVOKE SELECT (id, resource_version, email) ON col FROM regress_cas_blind;

-- The server-driven functions can be taken away by themselves.
GRANT SELECT, INSERT, UPDATE, DELETE ON doc TO regress_cas_clerk;
GRANT EXECUTE ON FUNCTION inc TO regress_cas_clerk;
SELECT c AS call, try_as('regress_cas_clerk', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_merge('doc', 'x', '{}')$$,
    $$cas_apply('doc', 'x', 'inc(jsonb, jsonb)')$$,
    $$cas_put('doc', 'x', '{}')$$]) AS c;
BEGIN;
REVOKE EXECUTE ON FUNCTION cas_merge(regclass, text, jsonb),
    cas_apply(regclass, text, regprocedure, jsonb),
    cas_put(regclass, text, jsonb) FROM PUBLIC;
SELECT c AS call, try_as('regress_cas_clerk', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_merge('doc', 'x', '{}')$$,
    $$cas_apply('doc', 'x', 'inc(jsonb, jsonb)')$$,
    $$cas_put('doc', 'x', '{}')$$,
    $$cas_update('doc', 'x', 5, '{}')$$]) AS c;
ROLLBACK;

-- The function that cas_apply calls has the caller's rights, or its owner's
-- if that was declared; a schema that is closed to the caller stays closed.
CREATE FUNCTION whoami(payload jsonb, args jsonb) RETURNS jsonb
    LANGUAGE sql AS $$SELECT to_jsonb(current_user)$$;
CREATE FUNCTION definer(payload jsonb, args jsonb) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    AS $$SELECT to_jsonb(current_user = session_user)$$;
CREATE FUNCTION peek(payload jsonb, args jsonb) RETURNS jsonb
    LANGUAGE sql AS $$SELECT to_jsonb(c) FROM rights_cas.col AS c LIMIT 1$$;
SELECT c AS fn, try_as('regress_cas_clerk', format(
    $$WITH w AS MATERIALIZED (SELECT cas_apply('doc', 'x', %L))
    SELECT concat_ws(' ', cas_apply, (cas_try_update('doc', 'x', 0, '{}')).payload) FROM w$$, c)) AS answer
FROM unnest('{"whoami(jsonb,jsonb)","definer(jsonb,jsonb)","peek(jsonb,jsonb)"}'::text[]) AS c;

-- Only the owner puts a table under compare-and-swap, or takes it off again,
-- whatever the other privileges.
GRANT ALL ON doc TO regress_cas_clerk;
SELECT c AS call, try_as('regress_cas_clerk', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_enable('doc', enforce => 'warn')$$,
    $$cas_disable('doc')$$]) AS c;

-- A foreign key's own action runs as the owner of the table that has the key.
-- The guard knows it in a partition of another owner, too.
CREATE TABLE customer (id int PRIMARY KEY);
CREATE TABLE sale (
    id int PRIMARY KEY,
    customer int REFERENCES customer ON UPDATE CASCADE) PARTITION BY RANGE (id);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM (0) TO (10);
SELECT cas_enable('sale', unversioned => 'reject');
ALTER TABLE sale_1 OWNER TO regress_cas_clerk;
INSERT INTO customer VALUES (1);
INSERT INTO sale VALUES (1, 1);
UPDATE customer SET id = 2;
SELECT * FROM sale;
SELECT try_as('regress_cas_clerk', 'UPDATE sale_1 SET customer = 1 RETURNING 1');

-- Who may read the partitioned table is told the id and the version, whatever the
-- privileges on the partition are; but not if policies may hide the row.
GRANT UPDATE, SELECT ON sale TO regress_cas_blind;
SELECT try_as('regress_cas_blind', 'UPDATE sale SET resource_version = 9 RETURNING 1');
REVOKE SELECT ON sale FROM regress_cas_blind;
GRANT SELECT (id) ON sale TO regress_cas_blind;
SELECT try_as('regress_cas_blind', 'UPDATE sale SET resource_version = 9 RETURNING 1');
GRANT SELECT ON sale TO regress_cas_blind;
ALTER TABLE sale ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON sale TO regress_cas_blind USING (true);
SELECT try_as('regress_cas_blind', 'UPDATE sale SET resource_version = 9 RETURNING 1');
-- nor does one level between matter less than the others
CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE sale_2a PARTITION OF sale_2 FOR VALUES FROM (10) TO (20);
INSERT INTO sale VALUES (11, 2);
GRANT UPDATE, SELECT ON sale_2 TO regress_cas_blind;
SELECT try_as('regress_cas_blind', 'UPDATE sale_2 SET resource_version = 9 RETURNING 1');

-- Nothing has been written all the while.
SELECT * FROM doc ORDER BY id;
SELECT * FROM col ORDER BY id;

SET client_min_messages = warning;
DROP SCHEMA rights_cas CASCADE;
DROP ROLE regress_cas_clerk, regress_cas_blind;
