-- Claim: only the owner's members change a pool, only they and members of
-- granted roles use it or see it; nobody reaches the tables behind; names of
-- any kind are safe, and so is a search_path full of look-alikes.
CREATE SCHEMA alloc_rights_test;
CREATE ROLE regress_alloc_owner;
CREATE ROLE regress_alloc_member IN ROLE regress_alloc_owner;
CREATE ROLE regress_alloc_user;
CREATE ROLE regress_alloc_group;
CREATE ROLE regress_alloc_friend IN ROLE regress_alloc_group;
CREATE ROLE regress_alloc_monitor IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA alloc_rights_test TO PUBLIC;
\set k '''00000000-0000-0000-0000-000000000001'''

SET ROLE regress_alloc_owner;
SELECT alloc_pool_create('mine', '{0-9}', 'int');
SET ROLE regress_alloc_user;
SELECT alloc_int('mine', :k);
SELECT alloc_try_int('mine', :k);
SELECT alloc_release('mine', :k);
SELECT alloc_renew('mine', :k, '1 hour');
SELECT * FROM alloc_get('mine', :k);
SELECT * FROM alloc_find('mine', '1');
SELECT * FROM alloc_many('mine', ARRAY[:k]::uuid[]);
SELECT * FROM alloc_usage('mine');
SELECT * FROM alloc_map('mine');
SELECT * FROM alloc_verify('mine');
SELECT alloc_grant('mine', 'regress_alloc_user');
SELECT alloc_pool_grow('mine', '10-19');
SELECT alloc_pool_set('mine', owner => 'regress_alloc_user');
SELECT alloc_pool_drop('mine');
SELECT alloc_reserve('mine', '1');
SELECT alloc_rebuild('mine');
SELECT count(*) FROM alloc_pools;
SELECT count(*) FROM alloc_usage();
-- the tables behind, and what serves the functions
SELECT * FROM cas_internal.alloc_slot;
SELECT * FROM cas_internal.alloc_pool;
INSERT INTO cas_internal.alloc_slot VALUES (1, 1, 0);
SELECT nextval('cas_internal.alloc_generation');
SELECT * FROM cas_internal.alloc_visible;
SELECT * FROM cas_internal.alloc_verify_of('{1}');

-- what serves the views is out of reach; called with anything, it is safe
SELECT cas_internal.alloc_range_text(NULL, NULL, NULL, NULL);
RESET ROLE;
SELECT cas_internal.alloc_describe(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT cas_internal.alloc_describe('ip', 5, 0, 0, 0, 0::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('ip', 4, 0, 0, 0, 0::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('ip', 4, -1, 0, 0, 0::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('ip', 4, 3, 0, 163840, 0::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('prefix', 4, NULL, 0, 0, 200::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('prefix', 4, NULL, 0, 0, (-1)::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('prefix', 6, NULL, 0, 0, 128::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('int', NULL, NULL, -9, 0, 0::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('int', NULL, NULL, 0, 'NaN', 0::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('', 6, NULL, 1e38, 5, 0::smallint, NULL, NULL);
SELECT cas_internal.alloc_describe('int', NULL, NULL, 0, 5, 0::smallint, 3, 1);
SELECT cas_internal.alloc_describe('int', NULL, NULL, 0, 5, 0::smallint, 3, 3);
SELECT cas_internal.alloc_describe('int', NULL, NULL, 0, 5, 0::smallint, 70000, 0);
SELECT cas_internal.alloc_describe('int', NULL, NULL, 0, 340282366920938463463374607431768211455, 0::smallint, 3, 0);
SELECT cas_internal.alloc_range_text(NULL, NULL, NULL, NULL);
SELECT cas_internal.alloc_range_text('ip', 4, 9, 8);
SELECT cas_internal.alloc_range_text('int', 4, 8, 9);
SELECT cas_internal.alloc_range_text('int', NULL, 8, 9);
SELECT cas_internal.alloc_range_text('ip', 4, -1, 8);
SELECT cas_internal.alloc_range_text('ip', 4, 1e37, 1e38);

-- a grant to a role is one to its members
SET ROLE regress_alloc_member;
SELECT alloc_grant('mine', 'regress_alloc_group');
SET ROLE regress_alloc_group;
SELECT alloc_int('mine', :k);
SET ROLE regress_alloc_friend;
SELECT alloc_int('mine', :k);
SELECT value FROM alloc_units;
SELECT pool, free FROM alloc_usage();
SELECT alloc_pool_set('mine', strategy => 'lowest');
SELECT alloc_revoke('mine', 'regress_alloc_group');
SET ROLE regress_alloc_owner;
SELECT alloc_revoke('mine', 'regress_alloc_group');
SET ROLE regress_alloc_friend;
SELECT alloc_release('mine', :k);
SELECT count(*) FROM alloc_units;
-- a monitor sees, and does no more
SET ROLE regress_alloc_monitor;
SELECT pool, value FROM alloc_units;
SELECT pool, free FROM alloc_usage();
SELECT * FROM alloc_verify('mine');
SELECT pool, value FROM alloc_find('mine', (SELECT value FROM alloc_units LIMIT 1));
SELECT pool, value FROM alloc_get('mine', (SELECT key FROM alloc_units LIMIT 1));
SELECT problem, value FROM alloc_reconcile('mine', '[]');
SELECT alloc_release('mine', :k);
-- one owns pools by membership, and gives them only to roles that one is in
SET ROLE regress_alloc_member;
SELECT alloc_pool_set('mine', owner => 'regress_alloc_user');
SELECT alloc_pool_set('mine', owner => 'regress_alloc_member');
SET ROLE regress_alloc_owner;
SELECT alloc_pool_grow('mine', '10-19');
RESET ROLE;
SELECT owner FROM alloc_pools;
SELECT alloc_grant('mine', 'regress_no_such_role');

-- a pool with a range that is drained is shown to those who may see it
SET ROLE regress_alloc_member;
SELECT alloc_int('mine', '00000000-0000-0000-0000-000000000005', 5), alloc_pool_shrink('mine', '5', drain => true);
SELECT ranges, draining FROM alloc_pools WHERE pool = 'mine';
SELECT alloc_release('mine', '00000000-0000-0000-0000-000000000005'), alloc_pool_grow('mine', '5');
RESET ROLE;

-- a trigger on the tables, which only a superuser can make, is not run
CREATE FUNCTION alloc_rights_test.trap() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'trapped as %', current_user; END $$;
CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON cas_internal.alloc_slot
    FOR EACH ROW EXECUTE FUNCTION alloc_rights_test.trap();
SELECT alloc_int('mine', '00000000-0000-0000-0000-000000000002');
SELECT alloc_release('mine', '00000000-0000-0000-0000-000000000002');
DROP TRIGGER trap ON cas_internal.alloc_slot;
-- and code in an index runs as the extension's owner, in whatever call
CREATE TABLE alloc_rights_test.seen (who name);
GRANT ALL ON alloc_rights_test.seen TO PUBLIC;
CREATE FUNCTION alloc_rights_test.who(int) RETURNS name IMMUTABLE LANGUAGE plpgsql
    AS $$ BEGIN RETURN current_user; END $$;
CREATE INDEX trap ON cas_internal.alloc_past (alloc_rights_test.who(pool));
SET ROLE regress_alloc_member;
SELECT alloc_int('mine', '00000000-0000-0000-0000-000000000002');
SELECT alloc_release('mine', '00000000-0000-0000-0000-000000000002');
SELECT current_user;
RESET ROLE;
SET enable_seqscan = off;
SELECT count(*) FROM cas_internal.alloc_past WHERE alloc_rights_test.who(pool) = 'regress_alloc_member';
RESET enable_seqscan;
DROP INDEX cas_internal.trap;

-- a search_path full of look-alikes
CREATE FUNCTION alloc_rights_test.evil(anyelement, anyelement) RETURNS boolean
    LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'look-alike called as %', current_user; END $$;
CREATE FUNCTION alloc_rights_test.int4range(int, int, text) RETURNS int4range
    LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'look-alike called'; END $$;
CREATE FUNCTION alloc_rights_test.clock_timestamp() RETURNS timestamptz
    LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'look-alike called'; END $$;
CREATE OPERATOR alloc_rights_test.= (FUNCTION = alloc_rights_test.evil, LEFTARG = anyelement, RIGHTARG = anyelement);
CREATE OPERATOR alloc_rights_test.<= (FUNCTION = alloc_rights_test.evil, LEFTARG = anyelement, RIGHTARG = anyelement);
CREATE TABLE alloc_rights_test.alloc_pool (id int);
CREATE TABLE alloc_rights_test.alloc_slot (id int);
SET search_path = alloc_rights_test, pg_catalog, public;
SELECT alloc_int('mine', '00000000-0000-0000-0000-000000000003') IS NOT NULL;
SELECT alloc_pool_grow('mine', '30-39');
SELECT alloc_reserve('mine', '30');
SELECT alloc_pool_set('mine', strategy => 'lowest');
SELECT count(*) FROM alloc_usage();
SELECT count(*) FROM alloc_map('mine');
SELECT count(*) FROM alloc_verify();
SELECT count(*) FROM alloc_units;
SELECT count(*) FROM alloc_pools;
SELECT alloc_rebuild('mine');
SELECT pg_cas_reap() >= 0;
SHOW search_path;
RESET search_path;

-- counted pools: who may use a pool needs no right on those above it, and gets none
SET ROLE regress_alloc_owner;
SELECT alloc_pool_create('quota', '{}', 'count', capacity => 4), alloc_pool_create('seats', '{}', 'count', capacity => 3, parent => 'quota'),
       alloc_pool_create('numbers', '{0-9}', 'int', parent => 'quota');
SELECT alloc_grant('seats', 'regress_alloc_user'), alloc_grant('numbers', 'regress_alloc_user');
SELECT alloc_count('quota', :k);
SET ROLE regress_alloc_user;
SELECT alloc_count('seats', :k, 2), alloc_int('numbers', :k);
SELECT outcome FROM alloc_try_count('seats', '00000000-0000-0000-0000-000000000002');
SELECT alloc_count('seats', '00000000-0000-0000-0000-000000000002', wait => '0');
SELECT pool, allocated, free FROM alloc_usage() ORDER BY pool;
SELECT pool, value, n FROM alloc_units ORDER BY pool;
SELECT pool, parent, capacity FROM alloc_pools ORDER BY pool;
SELECT * FROM alloc_verify();
SELECT statement, try_as('regress_alloc_user', statement) FROM unnest(ARRAY[
    $$SELECT alloc_count('quota', alloc_key('me'))$$, $$SELECT alloc_try_count('quota', alloc_key('me'))$$,
    $$SELECT alloc_resize('quota', '00000000-0000-0000-0000-000000000001', 2)$$,
    $$SELECT alloc_release('quota', '00000000-0000-0000-0000-000000000001')$$,
    $$SELECT alloc_renew('quota', '00000000-0000-0000-0000-000000000001', '1 hour')$$,
    $$SELECT alloc_move('quota', '00000000-0000-0000-0000-000000000001', alloc_key('me'))$$,
    $$SELECT alloc_annotate('quota', '00000000-0000-0000-0000-000000000001', '1')$$,
    $$SELECT alloc_many('quota', ARRAY[alloc_key('me')])$$, $$SELECT alloc_import('quota', '[]')$$,
    $$SELECT alloc_reconcile('quota', '[]')$$, $$SELECT alloc_set('[{"pool": ["seats", "quota"]}]', alloc_key('me'))$$,
    $$SELECT alloc_get('quota', '00000000-0000-0000-0000-000000000001')$$, $$SELECT alloc_usage('quota')$$, $$SELECT alloc_map('quota')$$,
    $$SELECT alloc_verify('quota')$$, $$SELECT alloc_pool_create('mine too', '{}', 'count', capacity => 1, parent => 'quota')$$,
    $$SELECT alloc_pool_create('mine too', '{}', 'count', capacity => 1, parent => 'seats')$$,
    $$SELECT alloc_pool_set('seats', capacity => 100)$$, $$SELECT alloc_pool_set('quota', capacity => 100)$$,
    $$SELECT alloc_resize('seats', '00000000-0000-0000-0000-000000000001', 1)$$]) AS statement;
SELECT alloc_release('seats', :k), alloc_release('numbers', :k);
SET ROLE regress_alloc_monitor;
SELECT pool, allocated, free FROM alloc_usage() WHERE pool IN ('quota', 'seats') ORDER BY pool;
SELECT alloc_count('seats', :k);
RESET ROLE;
SELECT alloc_release('quota', :k), alloc_pool_drop('seats'), alloc_pool_drop('numbers');
SELECT alloc_pool_drop('quota');

-- many roles
DO $$ BEGIN
    FOR n IN 1 .. 20 LOOP
        EXECUTE format('CREATE ROLE regress_alloc_many_%s', n);
        PERFORM alloc_grant('mine', 'regress_alloc_many_' || n);
    END LOOP;
END $$;
SELECT n, try_as('regress_alloc_many_' || n, 'SELECT outcome FROM alloc_try_int(''mine'', ''00000000-0000-0000-0000-00000000abcd'')')
FROM unnest('{1, 8, 9, 20}'::int[]) AS n;
DO $$ BEGIN
    FOR n IN 1 .. 20 LOOP
        PERFORM alloc_revoke('mine', 'regress_alloc_many_' || n);
        EXECUTE format('DROP ROLE regress_alloc_many_%s', n);
    END LOOP;
END $$;


-- names of any kind
SELECT alloc_pool_create(n, '{0-0}', 'int') FROM unnest(ARRAY['Robert''); DROP TABLE alloc_slot;--',
    '"', '\', E'new\nline', 'größe', '%s%n']) AS n;
SELECT alloc_int(pool, :k) FROM alloc_pools WHERE pool <> 'mine' ORDER BY pool;
SELECT alloc_int(pool, '00000000-0000-0000-0000-000000000002') FROM alloc_pools WHERE pool = '"';
SELECT * FROM alloc_verify();

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_rights_test CASCADE;
DROP ROLE regress_alloc_owner, regress_alloc_member, regress_alloc_user,
    regress_alloc_group, regress_alloc_friend, regress_alloc_monitor;
