-- Claim: a name has one key, the UUID that others compute for it, too; a
-- release can have a rest of its own.
CREATE SCHEMA alloc_key_test;
SET search_path = alloc_key_test, public, cas_test;
-- as Python's uuid.uuid5() computes them
SELECT alloc_key('pod-1') = '06f91cbd-7d1b-5199-b3cf-6f3fbbffb4ac', alloc_key('') = '5b1c7451-32e1-5551-9a93-2e17aff87a96', alloc_key('Größe') = 'c246df06-35ee-5941-b944-7a620373451e',
       alloc_key(repeat('x', 10000)) = '6c50b0de-7dd2-5175-bb13-cc3c8b576e3e';
SELECT alloc_key(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT provolatile, proparallel FROM pg_proc WHERE proname = 'alloc_key';

-- a rest of its own
SELECT alloc_pool_create('rest', '{1-2}', 'int', strategy => 'lowest', cooldown => '1 day');
SELECT alloc_int('rest', alloc_key('a')), alloc_int('rest', alloc_key('b'));
SELECT alloc_release('rest', alloc_key('a'), cooldown => '0'), alloc_int('rest', alloc_key('c'));
SELECT alloc_release('rest', alloc_key('c'), cooldown => '2 days'), alloc_release('rest', alloc_key('b'));
SELECT outcome, ready_at BETWEEN now() + interval '23 hours' AND now() + interval '25 hours' FROM alloc_try_int('rest', alloc_key('d'));
SELECT outcome, ready_at BETWEEN now() + interval '47 hours' AND now() + interval '49 hours' FROM alloc_try_int('rest', alloc_key('d'), 1);
SELECT alloc_release('rest', alloc_key('none'), cooldown => '1 day');
SELECT alloc_release('rest', alloc_key('none'), cooldown => '-1 day');
\echo :LAST_ERROR_SQLSTATE
SELECT alloc_release('rest', alloc_key('none'), cooldown => '400000 years');
SELECT alloc_pool_create('restless', '{10.0.0.0/30}', 'prefix');
SELECT alloc_prefix('restless', alloc_key('a'), 31), alloc_prefix('restless', alloc_key('b'), 31);
SELECT alloc_release('restless', alloc_key('a'), cooldown => '1 hour');
SELECT outcome, ready_at IS NOT NULL FROM alloc_try_prefix('restless', alloc_key('c'), 31);
SELECT * FROM alloc_verify() WHERE pool LIKE 'rest%';
SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
DROP SCHEMA alloc_key_test CASCADE;
