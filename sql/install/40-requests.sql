--
-- 4. Requests (src/request)
--

CREATE TABLE cas_internal.request_scope (
    scope text COLLATE "C" PRIMARY KEY,
    owner regrole NOT NULL
);
COMMENT ON TABLE cas_internal.request_scope IS
    'internal: scopes of requests, and the role that each belongs to';

CREATE TABLE cas_internal.request_result (
    scope text COLLATE "C",
    key text COLLATE "C",
    request jsonb NOT NULL,
    result jsonb,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (scope, key)
);
COMMENT ON TABLE cas_internal.request_result IS
    'internal: the requests that were done, and their results';
CREATE INDEX request_result_at ON cas_internal.request_result (at);

SELECT pg_catalog.pg_extension_config_dump('cas_internal.request_scope', '');
SELECT pg_catalog.pg_extension_config_dump('cas_internal.request_result', '');

CREATE TYPE request_state AS (state text, result jsonb);
COMMENT ON TYPE request_state IS
    'whether a request is new or done, and its result if it is done';

CREATE FUNCTION request_claim(token text) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_claim(text) IS
    'binds the transaction to a request; 25001 if it is bound to another one: pg_cas.on_leak says how';

CREATE FUNCTION request_once(scope text, key text, request jsonb, fn regprocedure)
    RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_once(text, text, jsonb, regprocedure) IS
    'runs fn(request jsonb) once per scope and key, with the caller''s rights (42501 without EXECUTE), and returns its result, or the stored one if it ran before; PT422 if the key was used for another request, 42501 if the scope belongs to another role';

CREATE FUNCTION request_begin(scope text, key text, request jsonb)
    RETURNS request_state
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_begin(text, text, jsonb) IS
    'state new: do the work, then call request_done() in the same transaction, which cannot be committed before (25000); state done: use the result; PT422 if the key was used for another request, 42501 if the scope belongs to another role, 25P01 outside a transaction block';

CREATE FUNCTION request_done(scope text, key text, result jsonb) RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION request_done(text, text, jsonb) IS
    'stores the result of a request that this transaction has begun; PT404 for any other';

CREATE FUNCTION cas_internal.request_reap(batch integer) RETURNS bigint
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION cas_internal.request_reap(integer) IS
    'internal: removes up to so many old requests, for pg_cas_reap';
REVOKE EXECUTE ON FUNCTION cas_internal.request_reap(integer) FROM PUBLIC;

