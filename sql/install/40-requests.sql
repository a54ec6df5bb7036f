--
-- 4. Requests (src/request)
--

-- A scope can have several rows, of which the first one is valid; see scope.c.
CREATE TABLE cas_internal.request_scope (
    scope text COLLATE "C",
    made_by xid8,                       -- 0 for request_scope_set
    owner oid,
    owner_name text,
    retention interval,                 -- negative for ever
    PRIMARY KEY (scope, made_by)
);
COMMENT ON TABLE cas_internal.request_scope IS
    'internal: scopes of requests, with their owners and how long results are kept';
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
    retained_by text COLLATE "C",       -- '' for expires_at, the scope for its
                                        -- retention, null for the setting
    PRIMARY KEY (scope, key)
);
COMMENT ON TABLE cas_internal.request_result IS
    'internal: results of requests, and how long these are kept';
CREATE INDEX request_result_at ON cas_internal.request_result (retained_by, at);
CREATE INDEX request_result_expires_at ON cas_internal.request_result (expires_at);

SELECT pg_catalog.pg_extension_config_dump('cas_internal.request_scope', '');
SELECT pg_catalog.pg_extension_config_dump('cas_internal.request_result', '');

CREATE TYPE request_state AS (state text, result jsonb);
COMMENT ON TYPE request_state IS
    'state of a request (new, done, busy), with its result if it is done';

CREATE FUNCTION request_claim(token text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_claim(text) IS
    'binds the transaction to a request; raises 25001 if it is bound to another one, at the level that pg_cas.on_leak sets';

CREATE FUNCTION request_once(scope text, key text, request jsonb, fn regprocedure,
        wait interval DEFAULT NULL, ttl interval DEFAULT NULL)
    RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_once(text, text, jsonb, regprocedure, interval, interval) IS
    'runs fn(request jsonb) once per scope and key, with the caller''s rights, and returns its result, or the stored one if it ran before; raises PT422 if the key was used for another request, PT425 if another session works on it for longer than wait, 42501 without EXECUTE on fn or if the scope belongs to another role; after ttl, the result may be removed';

CREATE FUNCTION request_begin(scope text, key text, request jsonb,
        wait interval DEFAULT NULL, ttl interval DEFAULT NULL)
    RETURNS request_state
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_begin(text, text, jsonb, interval, interval) IS
    'begins a request; state new: do the work, then call request_done() in the same transaction, which cannot be committed before that (25000); state done: use the result; state busy: another session works on it for longer than wait; raises PT422 if the key was used for another request, 42501 if the scope belongs to another role, 25P01 outside a transaction block; after ttl, the result may be removed';

CREATE FUNCTION request_done(scope text, key text, result jsonb) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_done(text, text, jsonb) IS
    'stores the result of a request that this transaction has begun; raises PT404 for any other request';

CREATE FUNCTION request_scope_set(scope text, owner text DEFAULT NULL, retention interval DEFAULT NULL)
    RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_scope_set(text, text, interval) IS
    'creates the scope if it is new, and sets its owner and how long its results are kept (negative for ever); raises 42501 unless the caller owns the scope and may SET ROLE to the new owner';

CREATE FUNCTION cas_internal.request_reap(batch integer) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_internal.request_reap(integer) IS
    'internal: visits up to batch old results and removes them, for pg_cas_reap';
REVOKE EXECUTE ON FUNCTION cas_internal.request_reap(integer) FROM PUBLIC;

