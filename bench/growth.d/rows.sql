-- work: cas_merge
-- of: rows
-- sizes: 1000 10000 100000 1000000 10000000
-- quick: 1000 10000
-- grow: WITH new AS (INSERT INTO grown SELECT 'k' || i, document(i), 1 FROM generate_series({from} + 1, {to}) AS i RETURNING *) INSERT INTO plain SELECT * FROM new
-- peer: rows
\set i random(1, {size})
SELECT cas_merge('grown', 'k' || :i, '{"n": 8}');
