-- Claim: whatever the extension's owner writes into the tables of locks, leases
-- and requests, each call of these families comes back, with an answer or with an
-- error that says what is wrong; and once it is undone, all go on as before.
CREATE SCHEMA lock_hostile_test;
SET search_path = lock_hostile_test, public, cas_test;
\pset format unaligned
\pset tuples_only on
\set VERBOSITY terse
\set SHOW_CONTEXT never
CREATE FUNCTION tried(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
BEGIN
    EXECUTE statement INTO answer;
    RETURN coalesce(answer, 'null');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE FUNCTION same(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';
-- each call, each in a subtransaction, after the change; then all is rolled back
CREATE FUNCTION breaking(change text, calls text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    act text; answers text := '';
BEGIN
    BEGIN
        EXECUTE change;
        FOREACH act IN ARRAY calls LOOP
            answers := answers || format(E'\n\t%s: %s', act, tried('SELECT ' || act));
        END LOOP;
        RAISE no_data_found;
    EXCEPTION WHEN no_data_found THEN
        RETURN change || answers;
    WHEN OTHERS THEN
        RETURN change || E'\n\trefused: ' || SQLSTATE;
    END;
END $$;

-- Locks and leases: committed, since a transaction holds what it has written, and
-- since a lease cannot be acquired in a function.
CREATE TABLE changes (change text);
INSERT INTO changes VALUES ('fence = -1'), ('fence = 9223372036854775807'), ('fence = NULL'), ('since = ''infinity'''),
    ('since = ''-infinity'', request = repeat(''x'', 1000000)'), ('name = repeat(''x'', 1025)');
SELECT last_value AS fences FROM cas_internal.lock_fence \gset
SELECT 'DO $$ BEGIN PERFORM lock_acquire(''{h}''); END $$',
    format('UPDATE cas_internal.lock_name SET %s WHERE name = ''h''', change),
    'SELECT tried(''SELECT mode FROM lock_acquire(ARRAY[]::text[], ARRAY[''''h''''])'')',
    'SELECT tried(''SELECT fence > 0 FROM lock_acquire(ARRAY[''''h''''])'')',
    'SELECT tried(''SELECT lock_try_acquire(ARRAY[''''h''''])'')',
    'SELECT tried(''SELECT lock_assert(''''h'''')'')',
    'SELECT cas_internal.lock_reap(1000) >= 0',
    'DELETE FROM cas_internal.lock_name WHERE name IN (''h'', repeat(''x'', 1025))'
FROM changes \gexec
TRUNCATE changes;
INSERT INTO changes VALUES ('fence = -1'), ('fence = 9223372036854775807'), ('holder = '''''),
    ('expires_at = NULL'), ('expires_at = ''infinity'''), ('expires_at = ''-infinity'''), ('acquired_at = NULL'),
    ('owner_name = NULL'), ('owner = NULL, owner_name = NULL'), ('owner = 4294967295, owner_name = ''nobody'''), ('name = repeat(''x'', 1025)');
SELECT 'SELECT (lease_try_acquire(''h'', ''a'', ''1 hour'')).holder',
    format('UPDATE cas_internal.lease_state SET %s WHERE name = ''h''', change),
    'SELECT fence > 0 AS granted, holder, expires_at > now() AS later FROM lease_try_acquire(''h'', ''b'', ''1 hour'')',
    'SELECT lease_acquire(''h'', ''a'', ''1 hour'') > 0',
    'SELECT lease_renew(''h'', fence, ''1 hour'') > now() FROM cas_internal.lease_state WHERE name = ''h''',
    'SELECT lease_guard(''h'', fence) FROM cas_internal.lease_state WHERE name = ''h''',
    'SELECT lease_set_owner(''h'', current_user)',
    'SELECT holder, expired FROM lease_holders WHERE name IN (''h'', repeat(''x'', 1025)) ORDER BY 1',
    'SELECT lease_release(''h'', fence) FROM cas_internal.lease_state WHERE name = ''h''',
    'SELECT cas_internal.lock_reap(1000) >= 0',
    'DELETE FROM cas_internal.lease_state WHERE name IN (''h'', repeat(''x'', 1025))'
FROM changes \gexec
SELECT last_value - :fences < 1000000 AS fences_go_on FROM cas_internal.lock_fence;
DO $$ BEGIN PERFORM lock_acquire('{h}'); END $$;
SELECT (lease_try_acquire('h', 'a', '1 hour')).holder;
SELECT lease_release('h', fence) FROM cas_internal.lease_state WHERE name = 'h';

-- requests
SELECT request_once('h', 'k', '1', 'same(jsonb)');
CREATE FUNCTION requests(change text) RETURNS text LANGUAGE sql AS $$
    SELECT breaking(change, ARRAY[
        'request_once(''h'', ''k'', ''1'', ''same(jsonb)'')', 'request_once(''h'', ''new'', ''1'', ''same(jsonb)'')',
        'request_begin(''h'', ''k'', ''1'')', 'request_done(''h'', ''k'', ''1'')',
        'request_scope_set(''h'', retention => ''1 hour'')', 'cas_internal.request_reap(1000) >= 0'])
$$;
SELECT requests('UPDATE cas_internal.request_scope SET ' || c || ' WHERE scope = ''h''')
FROM unnest(ARRAY['owner = NULL', 'owner_name = NULL', 'owner = NULL, owner_name = NULL', 'owner = 4294967295, owner_name = ''nobody''',
    'made_by = ''18446744073709551615''', 'made_by = ''0''', 'retention = ''178000000 years''', 'retention = ''-178000000 years''', 'scope = ''''']) AS c;
SELECT requests('INSERT INTO cas_internal.request_scope SELECT scope, n::text::xid8, owner, NULL, ''1 hour'' FROM cas_internal.request_scope, generate_series(0, 20) AS n WHERE scope = ''h''');
SELECT requests('DELETE FROM cas_internal.request_scope WHERE scope = ''h''');
SELECT requests('UPDATE cas_internal.request_result SET ' || c || ' WHERE scope = ''h''')
FROM unnest(ARRAY['result = NULL', 'request = ''[]''', 'request = NULL', 'at = ''infinity''', 'at = ''-infinity''', 'at = NULL', 'expires_at = ''-infinity''', 'expires_at = ''infinity''',
    'retained_by = ''nothing''', 'retained_by = '''', expires_at = NULL', 'key = ''''', 'scope = ''''']) AS c;
SELECT requests('DELETE FROM cas_internal.request_result WHERE scope = ''h''');
SELECT request_once('h', 'k', '1', 'same(jsonb)');

SET client_min_messages = warning;
DELETE FROM cas_internal.request_result WHERE scope = 'h';
DELETE FROM cas_internal.request_scope WHERE scope = 'h';
DROP SCHEMA lock_hostile_test CASCADE;
