-- work: alloc_int and alloc_release
-- of: units
-- sizes: 100 1000 10000 100000 2000000
-- quick: 100 1000
-- grow: CALL hold_units('units', {from}, {to})
\set a random(100000000, 1000000000)
SELECT alloc_int('units', lpad(:a::text, 32, '0')::uuid);
SELECT alloc_release('units', lpad(:a::text, 32, '0')::uuid);
