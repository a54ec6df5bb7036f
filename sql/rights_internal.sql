-- Claim: the role that has installed the extension can call the internal
-- functions, and gets by them no more than the extension's own tables and
-- sequences, also if it is no superuser.
SET client_min_messages = warning;
CREATE SCHEMA rights_internal;
SET search_path = rights_internal, public, cas_test;
CREATE ROLE regress_internal;
GRANT USAGE ON SCHEMA rights_internal, cas_internal TO regress_internal;
GRANT CREATE ON SCHEMA rights_internal TO regress_internal;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA cas_internal TO regress_internal;
CREATE SEQUENCE foreign_sequence;
CREATE TABLE foreign_table (id int PRIMARY KEY);

SET ROLE regress_internal;
\set VERBOSITY terse
-- a sequence of somebody else, and what is none
SELECT 'foreign_sequence'::regclass::oid AS foreign_sequence, 'foreign_table'::regclass::oid AS foreign_table \gset
SELECT regexp_replace(raises(format('SELECT cas_internal.history_raise_sequence(%s, 1000)', relid)), 'OID \d+', 'OID N') AS raises
FROM (VALUES (:'foreign_sequence'), (:'foreign_table'), ('''pg_class'''), ('0'), ('NULL')) AS r (relid);
-- the trigger that sets a role's OID from its name, on columns of other types
CREATE TABLE t (owner text, owner_name int);
CREATE TRIGGER role_of_name BEFORE INSERT OR UPDATE ON t
    FOR EACH ROW EXECUTE FUNCTION cas_internal.role_of_name('owner', 'owner_name');
INSERT INTO t VALUES ('x', 4711);
DROP TRIGGER role_of_name ON t;
CREATE TRIGGER alloc_pool_changed AFTER INSERT ON t EXECUTE FUNCTION cas_internal.alloc_pool_changed();
INSERT INTO t VALUES ('x', 4711);
-- what writes does not do so in a read-only transaction
BEGIN READ ONLY;
SELECT cas_internal.history_begin();
ROLLBACK;
RESET ROLE;
SELECT last_value, is_called FROM foreign_sequence;

-- Numbers do not get out of range, for all time, by one call.
SELECT raises('SELECT pg_cas_promoted(9007199254740991)');
BEGIN;
SELECT fence < 9007199254740991 AS below FROM lock_acquire('{rights_internal}');
ROLLBACK;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA cas_internal FROM regress_internal;
REVOKE USAGE ON SCHEMA cas_internal FROM regress_internal;
DROP SCHEMA rights_internal CASCADE;
DROP ROLE regress_internal;
