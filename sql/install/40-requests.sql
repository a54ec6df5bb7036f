--
-- 4. Requests (src/request)
--

-- A scope can have several rows; the first one counts: see scope.c.
CREATE TABLE cas_internal.request_scope (
    scope text COLLATE "C",
    made_by xid8,                       -- 0: set by request_scope_set
    owner oid,
    owner_name text,
    retention interval,                 -- negative: for ever
    PRIMARY KEY (scope, made_by)
);
COMMENT ON TABLE cas_internal.request_scope IS
    'internal: scopes of requests, the role that each belongs to, and how long its results are kept';
CREATE INDEX request_scope_retention ON cas_internal.request_scope (retention);
CREATE TRIGGER request_scope_owner BEFORE INSERT OR UPDATE
    ON cas_internal.request_scope FOR EACH ROW
    EXECUTE FUNCTION cas_internal.role_of_name('owner', 'owner_name');
ALTER TABLE cas_internal.request_scope
    ENABLE ALWAYS TRIGGER request_scope_owner;

CREATE TABLE cas_internal.request_result (
    scope text COLLATE "C",
    key text COLLATE "C",
    request jsonb NOT NULL,
    result jsonb,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    expires_at timestamptz,
    retained_by text COLLATE "C",       -- '': expires_at, else this scope's
                                        -- retention; null: the setting
    PRIMARY KEY (scope, key)
);
COMMENT ON TABLE cas_internal.request_result IS
    'internal: the requests that were done, their results, and how long these are kept';
CREATE INDEX request_result_at ON cas_internal.request_result (retained_by, at);
CREATE INDEX request_result_expires_at ON cas_internal.request_result (expires_at);

SELECT pg_catalog.pg_extension_config_dump('cas_internal.request_scope', '');
SELECT pg_catalog.pg_extension_config_dump('cas_internal.request_result', '');

CREATE TYPE request_state AS (state text, result jsonb);
COMMENT ON TYPE request_state IS
    'whether a request is new, done or busy, and its result if it is done';

CREATE FUNCTION request_claim(token text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_claim(text) IS
    'binds the transaction to a request; 25001 if it is bound to another one: pg_cas.on_leak says how';

CREATE FUNCTION request_once(scope text, key text, request jsonb, fn regprocedure,
        wait interval DEFAULT NULL, ttl interval DEFAULT NULL)
    RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_once(text, text, jsonb, regprocedure, interval, interval) IS
    'runs fn(request jsonb) once per scope and key, with the caller''s rights (42501 without EXECUTE), and returns its result, or the stored one if it ran before; PT422 if the key was used for another request, PT425 if another session is at it and wait is over, 42501 if the scope belongs to another role; ttl: the result may be removed after it';

CREATE FUNCTION request_begin(scope text, key text, request jsonb,
        wait interval DEFAULT NULL, ttl interval DEFAULT NULL)
    RETURNS request_state
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_begin(text, text, jsonb, interval, interval) IS
    'state new: do the work, then call request_done() in the same transaction, which cannot be committed before (25000); state done: use the result; state busy: another session is at it and wait is over; PT422 if the key was used for another request, 42501 if the scope belongs to another role, 25P01 outside a transaction block; ttl: the result may be removed after it';

CREATE FUNCTION request_done(scope text, key text, result jsonb) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_done(text, text, jsonb) IS
    'stores the result of a request that this transaction has begun; PT404 for any other';

CREATE FUNCTION request_scope_set(scope text, owner text DEFAULT NULL, retention interval DEFAULT NULL)
    RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_scope_set(text, text, interval) IS
    'makes the scope if it is new, and sets its owner and how long its results are kept (negative: for ever); for the scope''s owner, who must be able to become the new one (42501)';

CREATE FUNCTION cas_internal.request_reap(batch integer) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_internal.request_reap(integer) IS
    'internal: removes up to so many old requests, for pg_cas_reap';
REVOKE EXECUTE ON FUNCTION cas_internal.request_reap(integer) FROM PUBLIC;

