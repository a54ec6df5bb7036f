--
-- A protected table is written under its resource's exclusive lock or not at
-- all, whoever writes and in whatever way.
--
CREATE SCHEMA lock_protect_test;
SET search_path = lock_protect_test, public;
\set VERBOSITY default
\set SHOW_CONTEXT never

CREATE TABLE package (repo text, name text, version int, PRIMARY KEY (repo, name));
SELECT lock_protect('package', 'repo:{repo}');

-- Each way of writing needs it.
INSERT INTO package VALUES ('main', 'pg', 1);
\echo :SQLSTATE
COPY package FROM STDIN;
main	pg	1
\.
BEGIN;
SELECT lock_acquire('{}', '{repo:main}') IS NULL AS shared_is_not_enough;
INSERT INTO package VALUES ('main', 'pg', 1);
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT mode FROM lock_acquire('{repo:main}');
INSERT INTO package VALUES ('main', 'pg', 1), ('main', 'vim', 1);
COMMIT;
UPDATE package SET version = 2;
\echo :SQLSTATE
DELETE FROM package;
\echo :SQLSTATE
INSERT INTO package VALUES ('main', 'pg', 1) ON CONFLICT (repo, name) DO UPDATE SET version = 3;
\echo :SQLSTATE
MERGE INTO package AS p USING (VALUES (1)) AS v ON name = 'pg' WHEN MATCHED THEN DELETE;
\echo :SQLSTATE
TRUNCATE package;
\echo :SQLSTATE
-- What writes no row needs no lock.
UPDATE package SET version = 2 WHERE name = 'none';
INSERT INTO package VALUES ('main', 'pg', 1) ON CONFLICT DO NOTHING;

-- A row that moves needs the locks of both places.
BEGIN;
SELECT mode FROM lock_acquire('{repo:main}');
UPDATE package SET version = 2;
UPDATE package SET repo = 'test' WHERE name = 'vim';
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT mode FROM lock_acquire('{repo:test}');
UPDATE package SET repo = 'test' WHERE name = 'vim';
\echo :SQLSTATE
ROLLBACK;
BEGIN;
SELECT mode FROM lock_acquire('{repo:test,repo:main}');
UPDATE package SET repo = 'test' WHERE name = 'vim';
COMMIT;

-- A lock that went with a savepoint does not count, even if it did before.
BEGIN;
SAVEPOINT s;
SELECT mode FROM lock_acquire('{repo:main}');
UPDATE package SET version = 3 WHERE repo = 'main';
ROLLBACK TO s;
UPDATE package SET version = 3 WHERE repo = 'main';
\echo :SQLSTATE
ROLLBACK;

-- A null makes no name.
ALTER TABLE package DROP CONSTRAINT package_pkey, ALTER repo DROP NOT NULL;
INSERT INTO package VALUES (NULL, 'pg', 1);
\echo :SQLSTATE

-- What counts is the row as it is written, whatever other triggers do.
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.repo := 'elsewhere';
    RETURN NEW;
END
$$;
CREATE TRIGGER zzzz BEFORE INSERT ON package FOR EACH ROW EXECUTE FUNCTION move();
BEGIN;
SELECT mode FROM lock_acquire('{repo:main}');
INSERT INTO package VALUES ('main', 'new', 1);
\echo :SQLSTATE
ROLLBACK;
DROP TRIGGER zzzz ON package;

-- A foreign key's action is a writer too.
CREATE TABLE owner (name text PRIMARY KEY);
CREATE TABLE owned (owner text REFERENCES owner ON DELETE CASCADE, id int);
INSERT INTO owner VALUES ('a');
INSERT INTO owned VALUES ('a', 1);
SELECT lock_protect('owned', 'owned {id}');
DELETE FROM owner;
\echo :SQLSTATE
BEGIN;
SELECT mode FROM lock_acquire('{owned 1}');
DELETE FROM owner;
COMMIT;

-- A column renamed is missed, not forgotten.
ALTER TABLE package RENAME repo TO repository;
UPDATE package SET version = 4;
\echo :SQLSTATE
-- Settings are replaced, and taken away; doing so twice does no harm.
SELECT lock_protect('package', 'all {{packages}}');
UPDATE package SET version = 4;
\echo :SQLSTATE
BEGIN;
SELECT mode FROM lock_acquire(ARRAY['all {packages}']);
UPDATE package SET version = 4;
TRUNCATE package;
COMMIT;
TRUNCATE package;
\echo :SQLSTATE
SELECT lock_unprotect('package');
SELECT lock_unprotect('package');
INSERT INTO package VALUES ('main', 'pg', 1);

-- Other sessions' role setting: triggers fire for origin writes only.
SELECT tgname, tgenabled FROM pg_trigger
WHERE tgrelid = 'owned'::regclass AND NOT tgisinternal ORDER BY tgname;

-- ENABLE ALWAYS is kept; a trigger that was disabled is on again.
ALTER TABLE owned ENABLE ALWAYS TRIGGER lock_protect;
ALTER TABLE owned DISABLE TRIGGER lock_protect_truncate;
SELECT lock_protect('owned', 'owned {id}');
SELECT tgname, tgenabled FROM pg_trigger
WHERE tgrelid = 'owned'::regclass AND NOT tgisinternal ORDER BY tgname;

-- Odd names, generated columns, types of any kind.
CREATE TABLE "odd ""table" (id int, "the {col" text, sum int GENERATED ALWAYS AS (id * 2) STORED, d date);
SELECT lock_protect('"odd ""table"', '''{the {col}''-{sum}-{d}');
INSERT INTO "odd ""table" VALUES (1, 'x', DEFAULT, '2020-01-01');
\echo :SQLSTATE
BEGIN;
SELECT mode FROM lock_acquire(ARRAY['''x''-2-2020-01-01']);
INSERT INTO "odd ""table" VALUES (1, 'x', DEFAULT, '2020-01-01');
ROLLBACK;

-- The name does not depend on the writer's settings, nor do they change.
CREATE TABLE written (t timestamptz, i interval, f float8, b bytea, m money, c regclass);
SELECT lock_protect('written', '{t}|{i}|{f}|{b}|{m}|{c}');
BEGIN;
SET LOCAL TimeZone = 'Asia/Tokyo';
SET LOCAL DateStyle = 'German';
SET LOCAL IntervalStyle = 'iso_8601';
SET LOCAL extra_float_digits = -10;
SET LOCAL bytea_output = 'escape';
SET LOCAL quote_all_identifiers = on;
SELECT mode FROM lock_acquire(ARRAY['2020-01-01 12:00:00+00|1 day 02:00:00|0.1234567890123|\x00ff|$1.50|lock_protect_test.written']);
INSERT INTO written VALUES ('2020-01-01 12:00+00', '1 day 2 hours', 0.1234567890123, '\x00ff', 1.5::numeric::money, 'written');
SELECT t, i, f, b, c FROM written;
ROLLBACK;

-- Partitions, present and future.
CREATE TABLE part (id int, repo text) PARTITION BY LIST (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
SELECT lock_protect('part', 'repo:{repo}');
CREATE TABLE part2 (repo text, id int);
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES IN (2);
INSERT INTO part VALUES (1, 'a');
\echo :SQLSTATE
INSERT INTO part1 VALUES (1, 'a');
\echo :SQLSTATE
INSERT INTO part2 VALUES ('a', 2);
\echo :SQLSTATE
TRUNCATE part;
\echo :SQLSTATE
TRUNCATE part1;
\echo :SQLSTATE
BEGIN;
SELECT mode FROM lock_acquire('{repo:a}');
INSERT INTO part VALUES (1, 'a');
UPDATE part SET id = 2;
SAVEPOINT s;
UPDATE part SET id = 1, repo = 'b';
\echo :SQLSTATE
ROLLBACK TO s;
SELECT tableoid::regclass, * FROM part;
COMMIT;
UPDATE part SET id = 1;
\echo :SQLSTATE
SELECT lock_protect('part', 'repo:{repo}');
TRUNCATE part2;
\echo :SQLSTATE
-- Who may read the partitioned table is told the resource.
CREATE ROLE lock_protect_reader;
GRANT USAGE ON SCHEMA lock_protect_test TO lock_protect_reader;
GRANT SELECT, INSERT ON part TO lock_protect_reader;
SET ROLE lock_protect_reader;
INSERT INTO part VALUES (1, 'a');
RESET ROLE;
REVOKE SELECT ON part FROM lock_protect_reader;
SET ROLE lock_protect_reader;
INSERT INTO part VALUES (1, 'a');
RESET ROLE;
DROP OWNED BY lock_protect_reader;
DROP ROLE lock_protect_reader;
SELECT lock_unprotect('part1');
SELECT lock_unprotect('part');
SELECT count(*) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE c.relname LIKE 'part%';

-- A table that was protected by itself, and could not be any more, can still be
-- unprotected.
CREATE TABLE part3 (id int, repo text);
SELECT lock_protect('part3', 'repo:{repo}');
ALTER TABLE part ATTACH PARTITION part3 FOR VALUES IN (3);
SELECT lock_unprotect('part3');
INSERT INTO part VALUES (3, 'a');
CREATE TABLE mother (id int);
SELECT lock_protect('mother', 'mother');
CREATE TABLE daughter () INHERITS (mother);
SELECT lock_unprotect('mother');
INSERT INTO mother VALUES (1);

-- What cannot be protected.
CREATE FUNCTION attempt(rel regclass) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_protect(rel, 'x');
    RETURN 'protected';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE VIEW v AS SELECT * FROM package;
SELECT lock_protect('v', 'x');
\echo :SQLSTATE
SELECT lock_protect('part1', 'x');
\echo :SQLSTATE
SELECT lock_protect('pg_class', 'x');
\echo :SQLSTATE
CREATE TABLE child () INHERITS (package);
SELECT lock_protect('package', 'x');
\echo :SQLSTATE
SELECT lock_protect('child', 'x');
\echo :SQLSTATE
SELECT lock_protect(0, 'x');
\echo :SQLSTATE
SELECT lock_unprotect(0);
\echo :SQLSTATE
-- Those of pg_cas itself, not even a superuser.
SELECT count(*) AS accepted
FROM pg_class AS c, LATERAL (SELECT lock_protect_test.attempt(c.oid) AS error) AS a
WHERE relnamespace = 'cas_internal'::regnamespace AND relkind = 'r'
  AND error NOT LIKE '42809 cannot protect relation "cas_internal.%", which belongs to pg_cas';
SELECT lock_unprotect('cas_internal.lock_name');
\echo :SQLSTATE
SELECT lock_protect('owned', 'repo:{nosuch}');
\echo :SQLSTATE
SELECT lock_protect('owned', 'repo:{id');
\echo :SQLSTATE
SELECT lock_protect('owned', 'repo:id}');
\echo :SQLSTATE
SELECT lock_protect('owned', '{}');
\echo :SQLSTATE
SELECT lock_protect('owned', '{ctid}');
\echo :SQLSTATE
SELECT lock_protect('owned', '');
\echo :SQLSTATE
SELECT lock_protect('owned', NULL);
\echo :SQLSTATE
SELECT lock_protect(NULL, 'x');
\echo :SQLSTATE
SELECT lock_protect_trigger();
\echo :SQLSTATE
CREATE TABLE misused (id int);
CREATE TRIGGER own BEFORE INSERT ON misused FOR EACH ROW EXECUTE FUNCTION lock_protect_trigger('x');
INSERT INTO misused VALUES (1);
DROP TRIGGER own ON misused;
-- Triggers of others, of the same names, are theirs.
CREATE TRIGGER lock_protect BEFORE INSERT ON misused FOR EACH ROW
    EXECUTE FUNCTION suppress_redundant_updates_trigger();
SELECT lock_unprotect('misused');
SELECT lock_protect('misused', 'x');
ALTER TRIGGER lock_protect ON misused RENAME TO lock_protect_truncate;
SELECT lock_unprotect('misused');
SELECT lock_protect('misused', 'x');
\echo :SQLSTATE
CREATE TRIGGER own BEFORE UPDATE ON owned FOR EACH STATEMENT EXECUTE FUNCTION lock_protect_trigger('x');
UPDATE owned SET id = 1;
\echo :SQLSTATE

-- Who may not read the column is not told the resource.
CREATE ROLE lock_protect_writer;
GRANT USAGE ON SCHEMA lock_protect_test TO lock_protect_writer;
GRANT INSERT, DELETE ON "odd ""table" TO lock_protect_writer;
BEGIN;
SELECT mode FROM lock_acquire(ARRAY['''secret''-2-2020-01-01']);
INSERT INTO "odd ""table" VALUES (1, 'secret', DEFAULT, '2020-01-01');
COMMIT;
SET ROLE lock_protect_writer;
DELETE FROM "odd ""table";
\echo :SQLSTATE
SELECT lock_protect('"odd ""table"', 'x');
\echo :SQLSTATE
SELECT lock_unprotect('"odd ""table"');
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT ON "odd ""table" TO lock_protect_writer;
SET ROLE lock_protect_writer;
DELETE FROM "odd ""table";
\echo :SQLSTATE
RESET ROLE;
ALTER TABLE "odd ""table" ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON "odd ""table" TO lock_protect_writer USING (true);
SET ROLE lock_protect_writer;
DELETE FROM "odd ""table";
\echo :SQLSTATE
RESET ROLE;

DROP SCHEMA lock_protect_test CASCADE;
DROP ROLE lock_protect_writer;
