-- Claim: an operation of cas_txn() needs EXECUTE on the function that does the
-- same, of whichever type its id is; so who may not call cas_put(), for
-- example, cannot do it by cas_txn() either.
CREATE SCHEMA rights_cas_txn;
SET search_path = rights_cas_txn, public, cas_test;
CREATE ROLE regress_cas_txn;
GRANT USAGE, CREATE ON SCHEMA rights_cas_txn TO regress_cas_txn;
CREATE TABLE t (id int PRIMARY KEY, n int);
SELECT cas_enable('t');
INSERT INTO t VALUES (1, 1);
GRANT SELECT, INSERT, UPDATE, DELETE ON t TO regress_cas_txn;
CREATE FUNCTION same(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
CREATE TABLE operations (n serial, op text, rest jsonb);
GRANT SELECT ON operations TO regress_cas_txn;
INSERT INTO operations (op, rest) VALUES ('create', '{"id": 2, "payload": {}}'), ('update', '{"payload": {"n": 2}, "version": 1}'),
    ('patch', '{"patch": {"n": 2}, "version": 1}'), ('delete', '{"version": 1}'), ('rename', '{"new_id": 3, "version": 1}'),
    ('merge', '{"patch": {"n": 2}}'), ('apply', '{"fn": "same(jsonb,jsonb)"}'), ('put', '{"payload": {"n": 2}}'), ('get', '{}');
CREATE FUNCTION answers() RETURNS TABLE (op text, answer text) LANGUAGE sql AS $$
    SELECT op, try_as('regress_cas_txn', format('SELECT cas_txn(%L, %L) -> %L -> 0 ->> %L', '[]',
        jsonb_build_array('{"table": "t", "id": 1}' || jsonb_build_object('op', op) || rest), 'results', 'outcome'))
    FROM operations ORDER BY n $$;
SELECT * FROM answers();

-- none of them
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc AS p JOIN operations AS o ON p.proname = 'cas_' || o.op LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
SELECT * FROM answers();
-- nor in the list that does not run; to compare is no operation
SELECT try_as('regress_cas_txn', $$SELECT cas_txn('[{"table": "t", "id": 1, "exists": true}]', '[]', '[{"op": "get", "table": "t", "id": 1}]')$$);
SELECT try_as('regress_cas_txn', $$SELECT cas_txn('[{"table": "t", "id": 1, "exists": true}]', '[]') -> 'succeeded'$$);
-- a function of the role's own that has the name does not help
SET ROLE regress_cas_txn;
CREATE FUNCTION cas_get(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
RESET ROLE;
SELECT * FROM answers() WHERE op = 'get';
-- for one of the two types of ids
GRANT EXECUTE ON FUNCTION cas_get(regclass, anyelement), cas_put(regclass, text, jsonb) TO regress_cas_txn;
SELECT * FROM answers() WHERE op IN ('get', 'put', 'merge');

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc AS p JOIN operations AS o ON p.proname = 'cas_' || o.op LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f);
    END LOOP;
END $$;
SELECT DISTINCT answer FROM answers() WHERE answer ~ '^42';
-- who can only read keeps nobody from building an index of a partition
CREATE TABLE parted (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10);
SELECT cas_enable('parted');
INSERT INTO parted VALUES (1, 1);
GRANT SELECT ON parted TO regress_cas_txn;
SET ROLE regress_cas_txn;
BEGIN;
SELECT cas_txn('[{"table": "parted", "id": 1, "exists": true}]', '[]') -> 'succeeded';
SELECT DISTINCT mode FROM pg_locks WHERE relation = 'part'::regclass AND pid = pg_backend_pid() ORDER BY 1;
COMMIT;
RESET ROLE;
SET client_min_messages = warning;
DROP OWNED BY regress_cas_txn;
DROP SCHEMA rights_cas_txn CASCADE;
DROP ROLE regress_cas_txn;
