--
-- Nobody but the functions touches the extension's tables, the functions
-- check the caller, and nothing depends on its search_path.
--
CREATE SCHEMA lock_rights_test;
SET search_path = lock_rights_test, public;
\set VERBOSITY terse
\set SHOW_CONTEXT never
CREATE ROLE lock_rights_a;
CREATE ROLE lock_rights_b;
CREATE ROLE lock_rights_member IN ROLE lock_rights_a;
CREATE ROLE lock_rights_monitor IN ROLE pg_monitor;
GRANT USAGE, CREATE ON SCHEMA lock_rights_test
    TO lock_rights_a, lock_rights_b, lock_rights_member;

SET ROLE lock_rights_a;
SELECT * FROM cas_internal.lock_name;
\echo :SQLSTATE
INSERT INTO cas_internal.lock_name VALUES ('x', 1);
\echo :SQLSTATE
DELETE FROM cas_internal.lease_state;
\echo :SQLSTATE
SELECT nextval('cas_internal.lock_fence');
\echo :SQLSTATE
SELECT lock_fence_advance();
\echo :SQLSTATE
SELECT pg_cas_reap();
\echo :SQLSTATE
SELECT cas_internal.lock_reap(1);
\echo :SQLSTATE

-- A search_path full of look-alikes changes nothing.
CREATE TABLE lock_name (name text PRIMARY KEY, fence bigint);
CREATE TABLE lease_state (name text PRIMARY KEY, fence bigint);
CREATE SEQUENCE lock_fence;
CREATE FUNCTION trap(text, text) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'trapped'; END$$;
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = trap);
CREATE OPERATOR < (LEFTARG = text, RIGHTARG = text, FUNCTION = trap);
CREATE FUNCTION pg_has_role(oid, text) RETURNS boolean LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'trapped'; END$$;
SET search_path = lock_rights_test, pg_catalog, public;
BEGIN;
SELECT mode FROM lock_acquire('{rights}', '{more}');
SELECT lock_assert('rights');
SELECT mode, waiting FROM lock_holders;
COMMIT;
SELECT lease_acquire('rights', 'h', '1h') > 0 AS granted;
SELECT count(*) FROM lease_holders;
SELECT count(*) FROM lock_rights_test.lock_name;
SELECT last_value, is_called FROM lock_rights_test.lock_fence;
DROP TABLE lock_rights_test.lock_name, lock_rights_test.lease_state;
DROP SEQUENCE lock_rights_test.lock_fence;
DROP OPERATOR lock_rights_test.= (text, text);
DROP OPERATOR lock_rights_test.< (text, text);
SET search_path = lock_rights_test, public;

-- A lease belongs to the role that made it, and its members.
SELECT name, holder, owner, expired FROM lease_holders;
SET ROLE lock_rights_member;
SELECT name, holder, owner, expired FROM lease_holders;
SELECT fence > 0 AS granted, holder FROM lease_try_acquire('rights', 'h', '1h');
SELECT lease_renew('rights', fence, '1h') > now() AS renewed FROM lease_holders;
SET ROLE lock_rights_b;
SELECT * FROM lease_holders;
SELECT lease_acquire('rights', 'h', '1h');
\echo :SQLSTATE
SELECT * FROM lease_try_acquire('rights', 'other', '1h');
\echo :SQLSTATE
SELECT lease_guard('rights', 1);
\echo :SQLSTATE
SELECT lease_renew('rights', 1, '1h');
\echo :SQLSTATE
SELECT lease_release('rights', 1);
\echo :SQLSTATE
SET ROLE lock_rights_monitor;
SELECT name, holder, owner, expired FROM lease_holders;
SET ROLE lock_rights_a;
SELECT lease_release('rights', fence) FROM lease_holders;
-- Released, it is still that role's, until it is purged.
SET ROLE lock_rights_b;
SELECT lease_acquire('rights', 'h', '1h');
\echo :SQLSTATE
RESET ROLE;
SELECT pg_cas_reap() > 0 AS reaped;
SET ROLE lock_rights_b;
SELECT lease_acquire('rights', 'h', '1h') > 0 AS granted;
SELECT lease_release('rights', fence) FROM lease_holders;
RESET ROLE;

-- Its owner dropped, it is the extension owner's, and not its next namesake's;
-- a renamed owner stays the owner.
CREATE ROLE lock_rights_gone;
CREATE ROLE lock_rights_named;
SET ROLE lock_rights_gone;
SELECT lease_acquire('orphan', 'h', '1h') > 0 AS granted;
SET ROLE lock_rights_named;
SELECT lease_acquire('renamed', 'h', '1h') > 0 AS granted;
RESET ROLE;
DROP ROLE lock_rights_gone;
CREATE ROLE lock_rights_gone;
ALTER ROLE lock_rights_named RENAME TO lock_rights_other;
SET ROLE lock_rights_gone;
SELECT * FROM lease_holders;
SELECT lease_acquire('orphan', 'h', '1h');
\echo :SQLSTATE
SELECT lease_set_owner('orphan', 'lock_rights_gone');
\echo :SQLSTATE
SET ROLE lock_rights_other;
SELECT name, holder, owner FROM lease_holders;
RESET ROLE;
SELECT name, holder, owner = current_user AS mine FROM lease_holders WHERE name = 'orphan';
SELECT lease_set_owner('orphan', 'lock_rights_b');
SET ROLE lock_rights_b;
SELECT lease_acquire('orphan', 'h', '1h') > 0 AS granted;
SELECT name, holder, owner FROM lease_holders;
RESET ROLE;

-- What comes in by a restore or by replication has the oids of another cluster:
-- the name says whose it is, and with no role of that name it is kept, and
-- nobody's but the extension owner's.
INSERT INTO cas_internal.lease_state
SELECT n.name, 1, 'h', r.oid, n.owner_name, now(), now() + '1h'
FROM pg_roles AS r, (VALUES ('restored', 'lock_rights_a'),
                            ('lost', 'lock_rights_nobody')) AS n (name, owner_name)
WHERE r.rolname = 'lock_rights_b';
SET session_replication_role = replica;
UPDATE cas_internal.lease_state SET owner = 'lock_rights_b'::regrole, owner_name = 'lock_rights_nobody'
WHERE name = 'renamed';
RESET session_replication_role;
SET ROLE lock_rights_a;
SELECT name, holder, owner FROM lease_holders;
SET ROLE lock_rights_b;
SELECT name, holder, owner FROM lease_holders;
SELECT lease_release('lost', 1);
\echo :SQLSTATE
RESET ROLE;
SELECT name, holder, owner = current_user AS mine FROM lease_holders
WHERE name IN ('lost', 'renamed') ORDER BY name;
SELECT lease_release(name, fence) FROM lease_holders ORDER BY name;
DROP ROLE lock_rights_gone, lock_rights_other;

-- Who may not lock does not see who does.
REVOKE EXECUTE ON FUNCTION lock_acquire(text[], text[], interval) FROM PUBLIC;
BEGIN;
SELECT mode FROM lock_acquire('{rights}');
SET LOCAL ROLE lock_rights_a;
SELECT * FROM lock_holders;
SAVEPOINT s;
SELECT lock_acquire('{rights}');
\echo :SQLSTATE
ROLLBACK TO s;
SET LOCAL ROLE lock_rights_monitor;
SELECT name, mode FROM lock_holders;
COMMIT;
GRANT EXECUTE ON FUNCTION lock_acquire(text[], text[], interval) TO PUBLIC;
-- Others' functions of that name have no part in it.
BEGIN;
SELECT mode FROM lock_acquire('{rights}');
CREATE FUNCTION public.lock_acquire(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
SET LOCAL ROLE lock_rights_a;
SELECT name, mode FROM lock_holders;
ROLLBACK;

-- A usual hardening by the functions' owner changes nothing.
CREATE FUNCTION harden(clause text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc AS p
        JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
        WHERE d.deptype = 'e' AND p.proname ~ '^(lock|lease)_'
    LOOP
        EXECUTE format('ALTER FUNCTION %s %s', f, clause);
    END LOOP;
END
$$;
CREATE TABLE hardened (id int);
SELECT lock_protect('hardened', 'hardened {id}');
SELECT harden('SET search_path = pg_catalog');
SELECT lock_acquire('{a}');
\echo :SQLSTATE
BEGIN;
SELECT name, mode FROM lock_acquire('{hardened 1}');
SELECT lock_try_acquire('{hardened 2}');
INSERT INTO hardened VALUES (1), (2);
SELECT name, mode, waiting FROM lock_holders ORDER BY name;
INSERT INTO hardened VALUES (3);
\echo :SQLSTATE
ROLLBACK;
SELECT lease_acquire('hardened', 'h', '1h') > 0 AS granted;
SELECT lease_release('hardened', fence) FROM lease_holders WHERE name = 'hardened';
SELECT lock_unprotect('hardened');
SELECT harden('RESET ALL');

DROP SCHEMA lock_rights_test CASCADE;
DROP ROLE lock_rights_member, lock_rights_a, lock_rights_b, lock_rights_monitor;
