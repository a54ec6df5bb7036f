-- Claim: rows are found, taken for the same and ordered by the key's own
-- collation, be it one that takes different texts for equal.
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA cas_collate;
SET search_path = cas_collate, public, cas_test;

SELECT count(*) = 0 OR getdatabaseencoding() <> 'UTF8' AS skip
FROM pg_collation WHERE collprovider = 'i' \gset
\if :skip
\echo 'skipped: no ICU'
DROP SCHEMA cas_collate CASCADE;
\quit
\endif
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE TABLE t (id text COLLATE blind PRIMARY KEY, n int);
SELECT cas_enable('t');
SELECT cas_create('t', 'Résumé', '{"n": 1}');
SELECT * FROM cas_get('t', 'resume');
SELECT * FROM cas_get('t', 'resume'::text COLLATE "C");
SELECT * FROM cas_try_create('t', 'RESUME', '{}');
SELECT * FROM cas_lock('t', ARRAY['resume', 'RÉSUMÉ']);
SELECT * FROM cas_try_update('t', 'RESUME', 1, '{"n": 2}');
-- the key sent back with the payload may be any that is equal
SELECT * FROM cas_try_update('t', 'RESUME', 2, '{"n": 3, "id": "rèsumè"}');
-- an equal name is its own name
SELECT outcome, id FROM cas_try_rename('t', 'resume', 3, 'RESUME');
SELECT cas_delete('t', 'RÉSUMÉ', 3);
-- the version is not fooled: another text is another value
CREATE TABLE u (id int PRIMARY KEY, t text COLLATE blind);
SELECT cas_enable('u');
INSERT INTO u VALUES (1, 'a');
UPDATE u SET t = 'a' RETURNING resource_version;
UPDATE u SET t = 'A' RETURNING resource_version;
SELECT outcome, version FROM cas_try_update('u', 1, 2, '{"t": "á"}');
SELECT outcome, version FROM cas_try_update('u', 1, 3, '{"t": "á"}');
-- locks are taken in the key's order
CREATE TABLE o (id text COLLATE "und-x-icu" PRIMARY KEY);
CREATE TABLE c (id text COLLATE "C" PRIMARY KEY);
SELECT cas_enable('o'), cas_enable('c');
INSERT INTO o VALUES ('a'), ('B'), ('c'), ('ä');
INSERT INTO c SELECT id FROM o;
SELECT id FROM cas_lock('o', ARRAY['c', 'a', 'B', 'ä']);
SELECT id FROM cas_lock('c', ARRAY['c', 'a', 'B', 'ä']);

SET client_min_messages = warning;
DROP SCHEMA cas_collate CASCADE;
