-- Claim: what a review has found in the corners of versioned rows stays mended:
-- conversions that come back to the same table, keys that are rounded, writers
-- that are held back by policies or not guarded at all, and what the guard
-- remembers of a row for too short or too long a time.
\set VERBOSITY terse
\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;
CREATE SCHEMA cas_corners;
SET search_path = cas_corners, public, cas_test;
RESET client_min_messages;

-- The SQLSTATE of a statement, or "no error".

-- A domain's CHECK that reads the table which is being written: the value that
-- it forbids stays forbidden, as a key and in a payload.
CREATE FUNCTION looks(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF value LIKE 'a%' THEN
		PERFORM public.cas_get('cas_corners.named', 'b' || repeat('q', 5000));
	END IF;
	RETURN true;
END $$;
CREATE DOMAIN no_a AS text CHECK (looks(VALUE) AND VALUE NOT LIKE 'a%');
CREATE TABLE named (id no_a PRIMARY KEY, other no_a);
SELECT cas_enable('named');
SELECT left(raises($$SELECT 'abc'::no_a$$), 5);
SELECT left(raises($$SELECT cas_create('named', 'abc', '{}')$$), 5);
SELECT left(raises($$SELECT cas_create('named', 'xyz', '{"other": "abc"}')$$), 5);
SELECT count(*) FROM named;

-- A CHECK that catches its own errors sees them as they are.
CREATE FUNCTION catches(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RETURN 1 / length(value) > 5;
EXCEPTION WHEN division_by_zero THEN
	RETURN true;
END $$;
CREATE DOMAIN caught AS text CHECK (catches(VALUE));
CREATE TABLE catching (id caught PRIMARY KEY);
SELECT cas_enable('catching');
SELECT cas_create('catching', '', '{}');

-- A key of a type with a length or a scale is rounded as an INSERT rounds it.
CREATE TABLE priced (id numeric(5, 2) PRIMARY KEY, n int);
SELECT cas_enable('priced');
SELECT cas_create('priced', 1.234, '{"n": 1}');
SELECT * FROM cas_get('priced', 1.234);
SELECT outcome FROM cas_try_create('priced', 1.234, '{}');
SELECT outcome FROM cas_try_update('priced', 1.231, 1, '{"n": 2}');

-- Where policies show a row and let nobody update it, cas_put() ends.
CREATE ROLE regress_cas_corners;
CREATE TABLE shown (id int PRIMARY KEY, n int);
SELECT cas_enable('shown');
INSERT INTO shown VALUES (1, 1);
GRANT USAGE ON SCHEMA cas_corners TO regress_cas_corners;
GRANT SELECT, INSERT, UPDATE ON shown TO regress_cas_corners;
ALTER TABLE shown ENABLE ROW LEVEL SECURITY;
CREATE POLICY s ON shown FOR SELECT USING (true);
CREATE POLICY i ON shown FOR INSERT WITH CHECK (true);
CREATE POLICY u ON shown FOR UPDATE USING (false);
SET ROLE regress_cas_corners;
SET statement_timeout = '10min';
SELECT left(raises($$SELECT cas_put('shown', 1, '{"n": 2}')$$), 5);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT left(raises($$SELECT cas_put('shown', 1, '{"n": 2}')$$), 5);
ROLLBACK;
RESET statement_timeout;
RESET ROLE;

-- A look-alike of = in front of pg_catalog does not keep cas_enable() from
-- writing the version into documents.
CREATE SCHEMA cas_corners_evil;
CREATE FUNCTION cas_corners_evil.eq(jsonb, jsonb) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR cas_corners_evil.= (FUNCTION = cas_corners_evil.eq, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE TABLE document (id int PRIMARY KEY, doc jsonb);
INSERT INTO document VALUES (1, '{"v": 5}');
SET search_path = cas_corners_evil, pg_catalog, cas_corners, public;
SELECT cas_enable('document', payload_column => 'doc', version_path => '{v}');
SET search_path = cas_corners, public, cas_test;
SELECT doc FROM document;

-- However many versioned updates a trigger does between, the witness knows
-- what the statement has sent.
CREATE TABLE many (id int PRIMARY KEY, n int);
SELECT cas_enable('many');
INSERT INTO many SELECT g, 0 FROM generate_series(1, 200) g;
CREATE TABLE counted (id int PRIMARY KEY, n int, resource_version bigint NOT NULL DEFAULT 1);
CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE many SET n = n + 1, resource_version = resource_version + 1;
	NEW.resource_version := OLD.resource_version + 1;
	RETURN NEW;
END $$;
CREATE TRIGGER counts BEFORE UPDATE ON counted FOR EACH ROW EXECUTE FUNCTION counts();
SELECT cas_enable('counted');
INSERT INTO counted VALUES (1, 0);
UPDATE counted SET n = 1;
SELECT left(raises('UPDATE counted SET n = 99, resource_version = 1'), 5);
SELECT * FROM counted;

-- Where the guard does not fire, there is no swap.
CREATE TABLE replicated (id int PRIMARY KEY, n int);
SELECT cas_enable('replicated');
INSERT INTO replicated VALUES (1, 1);
SET session_replication_role = replica;
SELECT left(raises($$SELECT cas_update('replicated', 1, 1, '{"n": 2}')$$), 5);
RESET session_replication_role;

-- A heartbeat beside a large document does not write the document.
CREATE TABLE beating (id int PRIMARY KEY, doc jsonb, seen int);
ALTER TABLE beating ALTER doc SET STORAGE EXTERNAL;
SELECT cas_enable('beating', payload_column => 'doc', ignore_columns => '{seen}', version_path => '{v}');
INSERT INTO beating SELECT 1, jsonb_build_object('x', repeat('y', 100000)), 0;
SELECT pg_relation_size(reltoastrelid) AS before FROM pg_class WHERE oid = 'beating'::regclass \gset
DO $$ BEGIN FOR i IN 1..20 LOOP UPDATE beating SET seen = i; END LOOP; END $$;
SELECT pg_relation_size(reltoastrelid) = :before FROM pg_class WHERE oid = 'beating'::regclass;

-- The guard's yes to a swap is not for what a trigger does afterwards, even if
-- the swap has changed nothing that counts.
CREATE TABLE strict (id int PRIMARY KEY, n int, seen int);
SELECT cas_enable('strict', unversioned => 'reject', ignore_columns => '{seen}');
INSERT INTO strict VALUES (1, 1, 1);
CREATE FUNCTION follows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE strict SET n = n + 100 WHERE id = NEW.id;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER follows AFTER UPDATE ON strict FOR EACH ROW EXECUTE FUNCTION follows();
SELECT left(raises($$SELECT cas_update('strict', 1, 1, '{"seen": 7}')$$), 5);

-- The key's constraint renamed, with another search_path than before.
CREATE TABLE renamed (id int PRIMARY KEY);
SELECT cas_enable('renamed');
SELECT cas_create('renamed', 1, '{}');
ALTER INDEX renamed_pkey RENAME TO renamed_key;
SET search_path = public;
SELECT cas_create('cas_corners.renamed', 2, '{}');
SET search_path = cas_corners, public, cas_test;

-- Who may only make triggers cannot have the owner's sequence dropped.
CREATE TABLE invoiced (id int PRIMARY KEY, resource_version bigint NOT NULL DEFAULT 1);
CREATE SEQUENCE invoice;
GRANT TRIGGER ON invoiced TO regress_cas_corners;
SET ROLE regress_cas_corners;
CREATE TRIGGER zzz_cas_guard BEFORE INSERT OR UPDATE ON invoiced FOR EACH ROW
	EXECUTE FUNCTION cas_guard('version_column=resource_version', 'writers=echo', 'sequence=cas_corners.invoice');
RESET ROLE;
SELECT cas_enable('invoiced');
SELECT last_value FROM invoice;

-- A backend forgets tables that are dropped.
CREATE PROCEDURE passing(n int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		CREATE TEMP TABLE passing (id int PRIMARY KEY, n int);
		PERFORM cas_enable('passing');
		PERFORM cas_create('passing', 1, '{"n": 1}');
		DROP TABLE passing;
		COMMIT;
	END LOOP;
END $$;
CALL passing(30);
SELECT count(*) < 20 FROM pg_backend_memory_contexts WHERE name = 'pg_cas table';

SET client_min_messages = warning;
DROP SCHEMA cas_corners, cas_corners_evil CASCADE;
DROP ROLE regress_cas_corners;
