-- Claim: a name has one key, whatever the encoding of the database is; and one
-- that cannot be converted to UTF-8 is the fault of its unit only.
\set VERBOSITY default
SELECT current_database() AS home \gset
CREATE DATABASE regress_alloc_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE regress_alloc_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';
SET client_encoding = 'UTF8';
SELECT alloc_key('é');
\c regress_alloc_latin1
SET client_encoding = 'UTF8';
CREATE EXTENSION pg_cas;
SELECT alloc_key('é');
\c regress_alloc_ascii
CREATE EXTENSION pg_cas;
SELECT alloc_key('é');
\set VERBOSITY sqlstate
SELECT alloc_key(E'\xe9');
\set VERBOSITY default
SELECT alloc_pool_create('p', '{1-10}', 'int');
SELECT value, outcome FROM alloc_import('p', jsonb_build_array(
	'{"value": 1, "name": "a"}'::jsonb,
	jsonb_build_object('value', 2, 'name', E'\xe9'),
	'{"value": 3, "name": "b"}'::jsonb));
SELECT count(*) FROM alloc_reconcile('p', jsonb_build_array(jsonb_build_object('value', 2, 'name', E'\xe9')));
\c :home
DROP DATABASE regress_alloc_latin1;
DROP DATABASE regress_alloc_ascii;
