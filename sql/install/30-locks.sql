--
-- 3. Named resources and leases (src/lock)
--

CREATE TABLE cas_internal.lock_name (
    name text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL,
    since timestamptz,      -- written by the last exclusive holder,
    request text            -- like this
) WITH (fillfactor = 50);
COMMENT ON TABLE cas_internal.lock_name IS
    'internal: named resources; the lock on a row is the lock on the resource';

CREATE TABLE cas_internal.lease_state (
    name text COLLATE "C" PRIMARY KEY,
    fence bigint NOT NULL,
    holder text,
    owner oid,
    owner_name text,        -- null if it was never acquired
    acquired_at timestamptz,
    expires_at timestamptz
) WITH (fillfactor = 50);
-- Names are compared in versions of rows that are dead, too, whose TOAST chunks
-- may be gone (place_visit() in places.c).  A long holder is moved out instead.
ALTER TABLE cas_internal.lease_state ALTER name SET STORAGE MAIN;
COMMENT ON TABLE cas_internal.lease_state IS
    'internal: leases; holder is null if it was released';

CREATE TRIGGER role_of_name BEFORE INSERT OR UPDATE ON cas_internal.lease_state
    FOR EACH ROW EXECUTE FUNCTION cas_internal.role_of_name('owner', 'owner_name');
ALTER TABLE cas_internal.lease_state ENABLE ALWAYS TRIGGER role_of_name;

-- Each number stands for 32 fences, of which it is the last; see fence.c.
CREATE SEQUENCE cas_internal.lock_fence INCREMENT 32 START 32;
COMMENT ON SEQUENCE cas_internal.lock_fence IS
    'internal: the source of the fences of all locks and leases';

-- lock_name is not dumped, because its rows are created again when needed;
-- freeze_row() in name_rows.c explains why only held leases are.
SELECT pg_catalog.pg_extension_config_dump('cas_internal.lease_state', 'WHERE holder IS NOT NULL');
SELECT pg_catalog.pg_extension_config_dump('cas_internal.lock_fence', '');

CREATE FUNCTION lock_acquire(exclusive text[], shared text[] DEFAULT '{}', wait interval DEFAULT NULL)
    RETURNS TABLE (name text, mode text, fence bigint)
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_acquire(text[], text[], interval) IS
    'locks named resources until the end of the transaction, in byte order; each exclusive holder gets a new, larger fence; 55P03 when wait is over, 40001 if the snapshot is older than the last holder''s commit';

CREATE FUNCTION lock_try_acquire(exclusive text[], shared text[] DEFAULT '{}')
    RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_try_acquire(text[], text[]) IS
    'locks named resources until the end of the transaction if none of the locks has to be waited for; otherwise locks nothing and returns false';

CREATE FUNCTION lock_assert(name text, mode text DEFAULT 'exclusive') RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_assert(text, text) IS
    'raises PT428 unless this transaction holds the named resource in this mode or a stronger one';

CREATE FUNCTION lock_protect_trigger() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_protect_trigger() IS
    'internal: trigger function, used by lock_protect';

CREATE FUNCTION lock_protect(rel regclass, resource text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_protect(regclass, text) IS
    'requires the exclusive lock on the resource for writing rows of the table; {column} stands for the row''s value';

CREATE FUNCTION lock_unprotect(rel regclass) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lock_unprotect(regclass) IS
    'undoes lock_protect';

CREATE FUNCTION cas_internal.lock_holders_read()
    RETURNS TABLE (name text, mode text, pid integer, waiting boolean,
                   since timestamptz, request text, transaction xid)
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.lock_holders_read() IS
    'internal: the rows of lock_holders';

CREATE VIEW lock_holders AS
    SELECT h.name, h.mode, h.pid, h.waiting, h.since, h.request,
           a.application_name, p.gid
    FROM cas_internal.lock_holders_read() AS h
    LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS a
        ON a.pid OPERATOR(pg_catalog.=) h.pid
    LEFT JOIN pg_catalog.pg_prepared_xact() AS p
        ON p.transaction OPERATOR(pg_catalog.=) h.transaction;
COMMENT ON VIEW lock_holders IS
    'the holders of named resources and the sessions that wait for them; since is when a waiter began to wait or an exclusive holder got the lock; a prepared transaction has a gid and no pid';
GRANT SELECT ON lock_holders TO PUBLIC;

CREATE FUNCTION lock_fence_advance(by bigint DEFAULT 1000000) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C SECURITY DEFINER;
COMMENT ON FUNCTION lock_fence_advance(bigint) IS
    'skips fences, for example after the sequence was set back by hand; raises 22023 if they would get ahead of the clock';
REVOKE EXECUTE ON FUNCTION lock_fence_advance(bigint) FROM PUBLIC;

CREATE FUNCTION cas_internal.lock_reap(batch integer) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION cas_internal.lock_reap(integer) IS
    'internal: purges up to batch unused names; the part of pg_cas_reap for locks and leases';
REVOKE EXECUTE ON FUNCTION cas_internal.lock_reap(integer) FROM PUBLIC;

CREATE FUNCTION lease_acquire(name text, holder text, ttl interval,
        wait interval DEFAULT '0', reenter boolean DEFAULT true)
    RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_acquire(text, text, interval, interval, boolean) IS
    'acquires a lease and returns its fence; waits up to wait (null: without limit), in order of arrival; PT423 if it is still held; the same holder gets it again unless reenter is false; must be a statement of its own';

CREATE FUNCTION lease_try_acquire(name text, holder text, ttl interval,
        reenter boolean DEFAULT true)
    RETURNS TABLE (fence bigint, holder text, expires_at timestamptz)
    AS 'MODULE_PATHNAME' LANGUAGE C ROWS 1;
COMMENT ON FUNCTION lease_try_acquire(text, text, interval, boolean) IS
    'acquires a lease, or returns a null fence and who holds it until when; does not wait; must be a statement of its own';

CREATE FUNCTION lease_set_owner(name text, owner text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_set_owner(text, text) IS
    'gives a lease to another role, whose members then share it; requires membership in both roles; PT404 if there is no such lease';

CREATE FUNCTION lease_renew(name text, fence bigint, ttl interval) RETURNS timestamptz
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_renew(text, bigint, interval) IS
    'lets the lease expire ttl from now and returns when; PT412 with an older fence, PT404 if it was released';

CREATE FUNCTION lease_release(name text, fence bigint) RETURNS boolean
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_release(text, bigint) IS
    'releases the lease; false if there is nothing to release, PT412 with an older fence';

CREATE FUNCTION lease_guard(name text, fence bigint) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION lease_guard(text, bigint) IS
    'raises PT412 unless the fence is the current one; others cannot take over or release the lease until the end of the transaction';

CREATE VIEW lease_holders WITH (security_barrier) AS
    SELECT s.name, s.holder, r.rolname::pg_catalog.text AS owner, s.fence,
           s.acquired_at, s.expires_at,
           s.expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() AS expired
    FROM cas_internal.lease_state AS s
    LEFT JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) s.owner
    JOIN pg_catalog.pg_extension AS e ON e.extname OPERATOR(pg_catalog.=) 'pg_cas'
    JOIN pg_catalog.pg_roles AS r
        ON r.oid OPERATOR(pg_catalog.=) COALESCE(o.oid, e.extowner)
    WHERE s.holder IS NOT NULL
      AND (pg_catalog.pg_has_role(r.oid, 'USAGE')
           OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW lease_holders IS
    'the leases that are held, of the calling role and roles that it is a member of (pg_monitor: all); if the owner was dropped, a lease belongs to the extension''s owner';
GRANT SELECT ON lease_holders TO PUBLIC;
