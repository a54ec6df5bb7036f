-- counts 100: SELECT count(*) FROM alloc_units WHERE pool LIKE 'member%'
-- after: SELECT count(alloc_release(pool, key)) FROM alloc_units WHERE pool LIKE 'member%'
\set a random(1000000, 1000000000)
BEGIN;
-- hundred: SELECT alloc_int('member{n}', lpad(:a::text, 32, '0')::uuid);
COMMIT;
