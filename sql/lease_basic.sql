--
-- A lease is held by one holder at a time, by the server's clock; each holder
-- has a fence of its own, and only the current one can do anything with it.
--
CREATE SCHEMA lease_basic_test;
SET search_path = lease_basic_test, public;
\set VERBOSITY sqlstate
\set SHOW_CONTEXT never

SELECT lease_acquire('l', 'one', '1h') AS first \gset
SELECT lease_acquire('l', 'one', '1h') AS second \gset
SELECT :second > :first AS "the same holder gets a new fence";
SELECT fence, holder, expires_at > now() AS later FROM lease_try_acquire('l', 'two', '1h');
\set VERBOSITY terse
SELECT lease_acquire('l', 'two', '1h');
\set VERBOSITY sqlstate
SELECT name, holder, fence = :second AS current, acquired_at <= now() AS acquired,
       expires_at - acquired_at AS ttl, expired
FROM lease_holders WHERE name = 'l';

-- With reenter => false, the same holder is refused like any other.
SELECT lease_acquire('l', 'one', '1h', reenter => false);
SELECT fence, holder FROM lease_try_acquire('l', 'one', '1h', false);
SELECT fence > 0 AS granted FROM lease_try_acquire('alone', 'one', '1h', reenter => false);
SELECT lease_release('alone', fence) FROM lease_holders WHERE name = 'alone';
-- A call whose wait is over says who has it.
SELECT lease_acquire('l', 'two', '1h', wait => '10 ms');
SELECT lease_guard('l', :second);

-- The old fence is void, and so is one that never was.
SELECT lease_guard('l', :first);
SELECT lease_renew('l', :first, '1h');
SELECT lease_release('l', :first);
SELECT lease_guard('l', :second + 1000);
SELECT lease_guard('l', -1);

-- What the errors say, but for numbers and times.
CREATE FUNCTION attempt(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    details text;
    hint text;
BEGIN
    EXECUTE 'SELECT ' || call;
    RETURN 'served';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS details = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN regexp_replace(concat_ws(E'\n', SQLSTATE || ' ' || SQLERRM, details, hint), '\m[0-9]+\M', 'N', 'g');
END
$$;
\pset format unaligned
SELECT attempt(format('lease_guard(''l'', %s)', :first));
SELECT attempt('lease_guard(''none'', 7)');
SELECT lease_release('freed', fence) FROM lease_try_acquire('freed', 'one', '1h');
SELECT attempt(format('lease_guard(''freed'', %s)', (SELECT fence FROM cas_internal.lease_state WHERE name = 'freed')));
SELECT attempt('lease_guard(''freed'', 7)');
SELECT attempt('lease_renew(''freed'', 0, ''1h'')');
SELECT attempt('lease_renew(''none'', 7, ''1h'')');
\pset format aligned

-- The current one guards, renews and releases, in one transaction too.
BEGIN;
SELECT lease_guard('l', :second);
SELECT lease_renew('l', :second, '2h') > now() + interval '1h' AS renewed;
SELECT lease_guard('l', :second);
SELECT lease_release('l', :second);
SELECT lease_release('l', :second);
SAVEPOINT s;
SELECT lease_guard('l', :second);
ROLLBACK TO s;
SELECT lease_renew('l', :second, '1h');
ROLLBACK;
SELECT lease_guard('l', :second) IS NOT NULL AS "still held";
-- Also in one statement, which does not see what it writes itself.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT lease_release('l', :second), lease_guard('l', :second);
ROLLBACK;
SELECT lease_release('l', :second);
SELECT lease_release('l', :second);
SELECT lease_renew('l', :second, '1h');
SELECT lease_guard('l', :second);
SELECT count(*) FROM lease_holders WHERE name = 'l';

-- What never was.
SELECT lease_release('none', 1);
SELECT lease_renew('none', 1, '1h');
SELECT lease_guard('none', 1);

-- Expired, the lease is still its holder's until somebody takes over.
SELECT fence AS third FROM lease_try_acquire('l', 'one', '1 microsecond') \gset
SELECT pg_sleep(0.001);
SELECT holder, expired FROM lease_holders WHERE name = 'l';
SELECT lease_guard('l', :third);
SELECT lease_renew('l', :third, '1 microsecond') IS NOT NULL AS renewed;
SELECT pg_sleep(0.001);
SELECT lease_acquire('l', 'two', '1h') AS fourth \gset
SELECT :fourth > :third AS "taken over";
SELECT lease_guard('l', :third);
SELECT lease_renew('l', :third, '1h');
SELECT lease_release('l', :third);
SELECT lease_guard('l', :fourth);

-- Purged when it has been released, it is made again with a larger fence.  Of
-- one that is held the reaper does not even lock the row.
BEGIN;
SELECT pg_cas_reap() >= 0 AS reaped;
SELECT xmax <> pg_current_xact_id()::xid AS "not locked" FROM cas_internal.lease_state WHERE name = 'l';
COMMIT;
SELECT lease_guard('l', :fourth);
SELECT lease_release('l', :fourth);
SELECT pg_cas_reap() > 0 AS reaped;
SELECT lease_release('l', :fourth);
SELECT lease_renew('l', :fourth, '1h');
SELECT lease_guard('l', :fourth);
SELECT lease_acquire('l', 'two', '1h') > :fourth AS larger;

-- To acquire is a statement of its own.
BEGIN;
SELECT lease_acquire('l', 'two', '1h');
ROLLBACK;
BEGIN;
SELECT * FROM lease_try_acquire('l', 'two', '1h');
ROLLBACK;
SELECT lease_acquire('l', 'two', '1h')\; SELECT 1;
DO $$BEGIN PERFORM lease_acquire('l', 'two', '1h'); END$$;
CREATE FUNCTION acquire() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM lease_try_acquire('l', 'two', '1h') LOOP
        RETURN r.fence;
    END LOOP;
END
$$;
SELECT acquire();
CREATE TABLE t AS SELECT lease_acquire('l', 'two', '1h');
SET default_transaction_isolation = 'serializable';
SELECT lease_acquire('l', 'two', '1h') > 0 AS granted;
RESET default_transaction_isolation;
SET default_transaction_read_only = on;
SELECT lease_acquire('l', 'two', '1h');
SELECT lease_guard('l', 1);
RESET default_transaction_read_only;

-- Malformed arguments.
SELECT lease_acquire(NULL, 'two', '1h');
SELECT lease_acquire('l', NULL, '1h');
SELECT lease_acquire('l', 'two', NULL);
SELECT lease_acquire('', 'two', '1h');
SELECT lease_acquire('l', '', '1h');
SELECT lease_acquire(repeat('x', 1025), 'two', '1h');
SELECT lease_acquire('l', 'two', '0');
SELECT * FROM lease_try_acquire('l', 'two', '-1h');
SELECT lease_acquire('l', 'two', '178000000 years');
SELECT lease_acquire('l', 'two', '300000 years');
SELECT * FROM lease_try_acquire('l', 'two', '-300000 years');
SELECT lease_acquire('l', 'two', '1h', '300000 years');
SELECT lease_acquire('l', 'two', '1h', '-1 s');
SELECT lease_acquire('l', 'two', '1h', '1 s', NULL);
SELECT * FROM lease_try_acquire('l', 'two', '1h', NULL);
SELECT lease_renew('l', 1, '300000 years');
SELECT lease_renew('l', 1, NULL);
SELECT lease_renew('l', 1, '0');
SELECT lease_guard('l', NULL);
SELECT lease_release(NULL, 1);

-- A lease is given to a role by who could be both; pg_cas.owner says whose a
-- new one is.  Whatever was made, its holder goes on holding it.
CREATE ROLE lease_basic_group;
CREATE ROLE lease_basic_login IN ROLE lease_basic_group;
CREATE ROLE lease_basic_other;
\set VERBOSITY terse
SELECT lease_set_owner('none', 'lease_basic_group');
SELECT lease_set_owner('l', 'lease_basic_nobody');
SELECT lease_set_owner('l', NULL);
SET ROLE lease_basic_login;
SELECT fence AS mine FROM lease_try_acquire('given', 'me', '1h') \gset
SELECT owner FROM lease_holders WHERE name = 'given';
SELECT lease_set_owner('given', 'lease_basic_other');
SELECT lease_set_owner('given', 'lease_basic_group');
SELECT owner FROM lease_holders WHERE name = 'given';
SELECT lease_guard('given', :mine);
SET ROLE lease_basic_other;
SELECT lease_set_owner('given', 'lease_basic_other');
SELECT lease_acquire('given', 'me', '1h');
SET ROLE lease_basic_group;
SELECT lease_release('given', :mine);
-- Released, it still is the group's.
SET ROLE lease_basic_login;
SELECT lease_acquire('given', 'me', '1h') > 0 AS granted;
SELECT owner FROM lease_holders WHERE name = 'given';
SET pg_cas.owner = 'lease_basic_group';
SELECT lease_acquire('set', 'me', '1h') > 0 AS granted;
SELECT owner FROM lease_holders WHERE name = 'set';
SET pg_cas.owner = 'lease_basic_other';
SELECT lease_acquire('refused', 'me', '1h');
SELECT * FROM lease_try_acquire('set', 'me', '1h', false) WHERE fence IS NOT NULL;
RESET pg_cas.owner;
RESET ROLE;
SELECT count(*) FROM lease_holders WHERE name = 'refused';
SELECT lease_release(name, fence) FROM lease_holders WHERE name IN ('given', 'set');
DROP ROLE lease_basic_login, lease_basic_group, lease_basic_other;
\set VERBOSITY sqlstate

-- The longest name and the longest holder do not fit into a row together.  What
-- the session remembers of a lease that was purged is no harm, even if the TOAST
-- table was vacuumed since and the row was not.
SELECT string_agg(md5(g::text), '' ORDER BY g) AS long FROM generate_series(1, 32) AS g \gset
SELECT lease_acquire(:'long', :'long', '1h') > 0 AS granted;
SELECT lease_release(name, fence) FROM lease_holders WHERE name = :'long';
SELECT pg_cas_reap() >= 0 AS reaped;
SELECT reltoastrelid::regclass AS toast FROM pg_class
WHERE oid = 'cas_internal.lease_state'::regclass \gset
VACUUM :toast;
SELECT lease_acquire(:'long', 'me', '1h') > 0 AS granted;
SELECT lease_release(name, fence) FROM lease_holders WHERE name = :'long';

-- A dump has the leases that are held, and no names of locks: those that an old
-- snapshot sees twice would not be restored.
SELECT table_name, condition
FROM pg_extension, unnest(extconfig::regclass[], extcondition) AS c(table_name, condition)
WHERE extname = 'pg_cas' AND table_name::text ~ '^cas_internal.(lock|lease)_'
ORDER BY table_name::text COLLATE "C";

SELECT lease_release('l', fence) FROM lease_holders WHERE name = 'l';
DROP SCHEMA lease_basic_test CASCADE;
