-- Claim: row-level security holds for the functions as for plain statements:
-- a row that policies hide from the operation is missing, no error and no
-- answer shows anything of it, and a role change in one session changes what
-- is seen, though the plans are kept.
CREATE SCHEMA rights_cas_policies;
SET search_path = rights_cas_policies, public, cas_test;
\set SHOW_CONTEXT never
CREATE ROLE regress_cas_ann;
CREATE ROLE regress_cas_bob;
CREATE ROLE regress_cas_owner;
GRANT USAGE, CREATE ON SCHEMA rights_cas_policies
    TO regress_cas_ann, regress_cas_bob, regress_cas_owner;

CREATE TABLE own (id text PRIMARY KEY, who text, d jsonb DEFAULT '{}');
ALTER TABLE own OWNER TO regress_cas_owner;
SET ROLE regress_cas_owner;
SELECT cas_enable('own', payload_column => 'd', unversioned => 'reject');
RESET ROLE;
GRANT ALL ON own TO regress_cas_ann, regress_cas_bob;
INSERT INTO own VALUES ('a', 'regress_cas_ann'), ('b', 'regress_cas_bob'),
    ('o', 'regress_cas_owner');

-- 1. Own rows only: what is another's is missing, by every function.
ALTER TABLE own ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON own USING (who = current_user);
CREATE FUNCTION same(payload jsonb, args jsonb) RETURNS jsonb
    LANGUAGE sql AS 'SELECT $2';
SELECT c AS call,
    try_as('regress_cas_ann', replace('SELECT ' || c, '?', $$'a'$$)) AS own,
    try_as('regress_cas_ann', replace('SELECT ' || c, '?', $$'b'$$)) AS hidden,
    try_as('regress_cas_ann', replace('SELECT ' || c, '?', $$'c'$$)) AS absent
FROM unnest(ARRAY[
    $$cas_get('own', ?)$$,
    $$cas_lock('own', array[?])$$,
    $$cas_update('own', ?, 1, '{"n": 1}')$$,
    $$cas_update('own', ?, 7, '{"n": 1}')$$,
    $$cas_try_update('own', ?, 1, '{"n": 1}')$$,
    $$cas_try_update('own', ?, 7, '{"n": 1}')$$,
    $$cas_try_patch('own', ?, 1, '{"n": 1}')$$,
    $$cas_try_delete('own', ?, 1)$$,
    $$cas_try_delete('own', ?, 7)$$,
    $$cas_try_rename('own', ?, 1, 'new')$$,
    $$cas_merge('own', ?, '{"n": 1}')$$,
    $$cas_apply('own', ?, 'same(jsonb, jsonb)', '{}')$$]) AS c;

-- A key that another's row has is taken, as for a plain INSERT; of that row
-- nothing is told.  The policy is also for what is written.
SELECT c AS call, try_as('regress_cas_ann', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_try_rename('own', 'a', 1, 'b')$$,
    $$cas_rename('own', 'a', 1, 'b')$$,
    $$cas_create('own', 'new', '{}')$$]) AS c;
ALTER TABLE own ALTER who SET DEFAULT current_user;
SELECT c AS call, try_as('regress_cas_ann', 'SELECT ' || c) AS answer
FROM unnest(ARRAY[
    $$cas_try_create('own', 'new', '{}')$$,
    $$cas_try_create('own', 'b', '{}')$$,
    $$cas_create('own', 'b', '{}')$$,
    $$cas_put('own', 'new', '{}')$$,
    $$cas_put('own', 'b', '{}')$$]) AS c;

-- The guard's errors show nothing where policies are in force.
SELECT try_as('regress_cas_ann', $$UPDATE own SET d = '[]' RETURNING 1$$);
SELECT try_as('regress_cas_ann', $$UPDATE own SET resource_version = 9 RETURNING 1$$);

-- 2. FORCE is for the owner, too; he changes the settings all the same.
SELECT try_as('regress_cas_owner', $$SELECT cas_get('own', 'a')$$);
ALTER TABLE own FORCE ROW LEVEL SECURITY;
SELECT try_as('regress_cas_owner', $$SELECT cas_get('own', 'a')$$);
SELECT try_as('regress_cas_owner', $$SELECT cas_try_update('own', 'a', 1, '[]')$$);
SELECT try_as('regress_cas_owner', $$SELECT cas_try_update('own', 'o', 1, '[]')$$);
ALTER TABLE own NO FORCE ROW LEVEL SECURITY;

-- 3. One session, changing roles, at one call site: the kept plan follows.
CREATE FUNCTION swap(id text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN cas_try_patch('own', id, (SELECT version FROM cas_get('own', id)),
        jsonb_build_object('by', regexp_replace(current_user, '^(?!regress_).*', 'superuser')));
EXCEPTION WHEN null_value_not_allowed THEN
    RETURN 'no version to be seen';
END
$$;
SELECT swap('a');
SET ROLE regress_cas_ann;
SELECT swap('a'), swap('b');
SET ROLE regress_cas_bob;
SELECT swap('a'), swap('b');
SET ROLE regress_cas_ann;
SELECT swap('a'), swap('b');
RESET ROLE;
SET row_security = off;
SET ROLE regress_cas_ann;
SELECT swap('a');
RESET ROLE;
RESET row_security;
REVOKE ALL ON own FROM regress_cas_bob;
SET ROLE regress_cas_bob;
SELECT swap('b');
RESET ROLE;
GRANT SELECT, DELETE ON own TO regress_cas_bob;
SET ROLE regress_cas_bob;
SELECT swap('b');
SELECT cas_try_delete('own', 'b', 7);
RESET ROLE;
GRANT ALL ON own TO regress_cas_bob;
SELECT id, resource_version, d FROM own ORDER BY id;

-- 4. A policy of its own for each kind of statement: all rows can be seen,
-- those open can be written, none can be deleted but the closed.
CREATE TABLE kinds (id int PRIMARY KEY, open boolean, d jsonb DEFAULT '{}');
SELECT cas_enable('kinds', payload_column => 'd');
INSERT INTO kinds VALUES (1, true), (2, false);
GRANT ALL ON kinds TO regress_cas_ann;
ALTER TABLE kinds ENABLE ROW LEVEL SECURITY;
CREATE POLICY s ON kinds FOR SELECT USING (true);
CREATE POLICY u ON kinds FOR UPDATE USING (open) WITH CHECK (d ? 'n');
CREATE POLICY d ON kinds FOR DELETE USING (NOT open);
SELECT c AS call,
    try_as('regress_cas_ann', replace('SELECT ' || c, '?', '1')) AS open,
    try_as('regress_cas_ann', replace('SELECT ' || c, '?', '2')) AS closed
FROM unnest(ARRAY[
    $$cas_get('kinds', ?)$$,
    $$cas_lock('kinds', array[?])$$,
    $$cas_lock('kinds', array[?], 'share')$$,
    $$cas_try_update('kinds', ?, 1, '{"n": 1}')$$,
    $$cas_try_update('kinds', ?, 7, '{"n": 1}')$$,
    $$cas_try_update('kinds', ?, 1, '{"no n": 1}')$$,
    $$cas_try_patch('kinds', ?, 1, '{"n": 1}')$$,
    $$cas_merge('kinds', ?, '{"n": 1}')$$,
    $$cas_try_delete('kinds', ?, 1)$$,
    $$cas_delete('kinds', ?, 7)$$,
    $$cas_create('kinds', ?, '{}')$$]) AS c;
-- No row may be inserted: there is no policy for it.
SELECT try_as('regress_cas_ann', $$SELECT cas_create('kinds', 3, '{}')$$);

-- Those who may see only the open ones write them, and the others are
-- missing, even though the policy for UPDATE would let them through.
DROP POLICY s ON kinds;
DROP POLICY u ON kinds;
CREATE POLICY s ON kinds FOR SELECT USING (open);
CREATE POLICY u ON kinds FOR UPDATE USING (true);
SELECT try_as('regress_cas_ann', $$SELECT cas_try_update('kinds', 1, 1, '{"n": 1}')$$),
    try_as('regress_cas_ann', $$SELECT cas_try_update('kinds', 2, 1, '{"n": 1}')$$),
    try_as('regress_cas_ann', $$SELECT cas_try_rename('kinds', 1, 1, 2)$$);

-- 5. A security-barrier view beside the table: what is written through it
-- passes the guard; the functions want the table itself.
CREATE VIEW mine WITH (security_barrier) AS
    SELECT id, resource_version, d FROM own WHERE who = current_user
    WITH CHECK OPTION;
GRANT SELECT, UPDATE ON mine TO regress_cas_bob;
REVOKE ALL ON own FROM regress_cas_bob;
SELECT s AS statement, try_as('regress_cas_bob', s) AS answer
FROM unnest(ARRAY[
    $$SELECT id FROM mine$$,
    $$UPDATE mine SET d = '[]' RETURNING 1$$,
    $$UPDATE mine SET d = '[]', resource_version = 9 RETURNING 1$$,
    $$UPDATE mine SET d = '[]', resource_version = resource_version + 1 RETURNING mine::text$$,
    $$SELECT cas_get('mine', 'b')$$,
    $$SELECT cas_enable('mine')$$,
    $$SELECT cas_get('own', 'b')$$]) AS s;

-- 6. A SECURITY DEFINER function acts with its owner's rights, for as long as
-- he has them.
CREATE FUNCTION put_for_all(id text, document jsonb) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path = rights_cas_policies, public, pg_temp
    AS $$SELECT cas_merge('own', id, document)$$;
ALTER FUNCTION put_for_all OWNER TO regress_cas_ann;
SET ROLE regress_cas_bob;
SELECT put_for_all('a', '{"by": "definer"}');
SELECT put_for_all('b', '{"by": "definer"}');
RESET ROLE;
REVOKE UPDATE ON own FROM regress_cas_ann;
SET ROLE regress_cas_bob;
SELECT put_for_all('a', '{"by": "nobody"}');
RESET ROLE;
GRANT UPDATE (d) ON own TO regress_cas_ann;
SET ROLE regress_cas_bob;
SELECT put_for_all('a', '{"by": "definer again"}');
RESET ROLE;
REVOKE ALL ON own FROM regress_cas_ann;
REVOKE UPDATE (d) ON own FROM regress_cas_ann;
SET ROLE regress_cas_bob;
SELECT put_for_all('a', '{"by": "nobody"}');
RESET ROLE;
SELECT id, resource_version, d FROM own ORDER BY id;

-- A key that a hidden row of a partition has is taken, too, whatever the
-- partition's index is called.
CREATE TABLE parted (id text PRIMARY KEY, who text) PARTITION BY LIST (id);
CREATE TABLE part (id text CONSTRAINT another PRIMARY KEY, who text);
ALTER TABLE parted ATTACH PARTITION part FOR VALUES IN ('a', 'b');
SELECT cas_enable('parted');
GRANT ALL ON parted TO regress_cas_ann;
INSERT INTO parted VALUES ('a', 'regress_cas_ann'), ('b', 'regress_cas_bob');
ALTER TABLE parted ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON parted USING (who = current_user);
SELECT try_as('regress_cas_ann', $$SELECT cas_try_rename('parted', 'a', 1, 'b')$$);
-- but that is not told of a key that a trigger has found taken in another table
DELETE FROM parted WHERE id = 'b';
CREATE TABLE listed (id text PRIMARY KEY);
INSERT INTO listed VALUES ('b');
CREATE FUNCTION enlist() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO rights_cas_policies.listed VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER enlist AFTER UPDATE ON parted FOR EACH ROW EXECUTE FUNCTION enlist();
SELECT try_as('regress_cas_ann', $$SELECT cas_try_rename('parted', 'a', 1, 'b')$$);

SET client_min_messages = warning;
DROP SCHEMA rights_cas_policies CASCADE;
DROP ROLE regress_cas_ann, regress_cas_bob, regress_cas_owner;
