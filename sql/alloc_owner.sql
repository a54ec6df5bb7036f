-- Claim: owners and grantees of pools are roles as they are now: a renamed
-- role stays what it was; a dropped one owns nothing more, its pools are the
-- extension's owner's and its grants nobody's, and a namesake made later does
-- not inherit; DROP ROLE is not hindered, and nobody is shut out.
CREATE ROLE regress_pool_owner;
CREATE ROLE regress_pool_user;
CREATE ROLE regress_pool_team;
CREATE ROLE regress_pool_login IN ROLE regress_pool_team;
CREATE ROLE regress_pool_other;
\set k '''00000000-0000-0000-0000-000000000001'''

SET ROLE regress_pool_owner;
SELECT alloc_pool_create('renamed', '{0-9}', 'int');
SELECT alloc_grant('renamed', 'regress_pool_user');
SELECT alloc_pool_create('dropped', '{0-9}', 'int');
SELECT alloc_grant('dropped', 'regress_pool_user');
SELECT alloc_grant('dropped', 'regress_pool_team');
SELECT alloc_grant('dropped', 'regress_pool_team');          -- once
SELECT pool, owner, granted FROM alloc_pools ORDER BY pool;
SET ROLE regress_pool_user;
SELECT alloc_int('dropped', :k);
RESET ROLE;

-- renamed: the same role
ALTER ROLE regress_pool_owner RENAME TO regress_pool_owner2;
ALTER ROLE regress_pool_user RENAME TO regress_pool_user2;
CREATE ROLE regress_pool_owner;
CREATE ROLE regress_pool_user;
SELECT pool, owner, granted FROM alloc_pools ORDER BY pool;
SET ROLE regress_pool_owner2;
SELECT alloc_pool_grow('renamed', '10-19');
SET ROLE regress_pool_user2;
SELECT alloc_int('renamed', :k);
-- who now has the old name is a stranger
SET ROLE regress_pool_owner;
SELECT alloc_pool_grow('renamed', '20-29');
SELECT count(*) FROM alloc_pools;
SET ROLE regress_pool_user;
SELECT alloc_release('renamed', :k);
SELECT count(*) FROM alloc_units;
RESET ROLE;
-- housekeeping writes the new names down, for the next dump
SELECT pg_cas_reap() >= 0;
SELECT name, owner_name FROM cas_internal.alloc_pool ORDER BY 1;
SELECT p.name, g.role_name FROM cas_internal.alloc_pool AS p
    JOIN cas_internal.alloc_grantee AS g ON g.pool = p.id ORDER BY 1, 2;

-- dropped: a session that knows the pool, and one that does not
DROP ROLE regress_pool_owner2;
DROP ROLE regress_pool_user2;
SELECT pool, owner = current_user AS ours, granted FROM alloc_pools ORDER BY pool;
SELECT alloc_pool_grow('dropped', '10-19');
SET ROLE regress_pool_login;
SELECT key, value FROM alloc_units WHERE pool = 'dropped';
SELECT alloc_pool_grow('dropped', '20-29');
SELECT alloc_usage('renamed');
\c -
SET ROLE regress_pool_login;
SELECT key, value FROM alloc_units WHERE pool = 'dropped';
SELECT alloc_pool_grow('dropped', '20-29');
RESET ROLE;
-- namesakes
CREATE ROLE regress_pool_owner2;
CREATE ROLE regress_pool_user2;
SET ROLE regress_pool_owner2;
SELECT alloc_pool_grow('dropped', '20-29');
SET ROLE regress_pool_user2;
SELECT alloc_int('dropped', :k);
SELECT count(*) FROM alloc_pools;
RESET ROLE;
SELECT pool, owner = current_user AS ours, granted FROM alloc_pools ORDER BY pool;
-- the extension's owner hands them over, and takes back by name what was
-- granted to a role that is no more
SELECT alloc_pool_set('dropped', owner => 'regress_pool_team');
SELECT alloc_revoke('dropped', 'regress_pool_user2');
SELECT p.name, g.role_name FROM cas_internal.alloc_pool AS p
    JOIN cas_internal.alloc_grantee AS g ON g.pool = p.id ORDER BY 1, 2;
DROP ROLE regress_pool_user2;
SELECT alloc_revoke('dropped', 'regress_pool_user2');
SELECT alloc_grant('dropped', 'regress_pool_user2');
SELECT alloc_grant('dropped', NULL);
SET ROLE regress_pool_login;
SELECT alloc_pool_grow('dropped', '20-29');

-- naming an owner takes membership
SELECT alloc_pool_set('dropped', owner => 'regress_pool_other');
SELECT alloc_pool_set('dropped', owner => 'regress_no_such_role');
SELECT alloc_pool_create('given', '{0-9}', 'int', owner => 'regress_pool_other');
SELECT alloc_pool_create('given', '{0-9}', 'int', owner => 'regress_pool_team');
SET pg_cas.owner = 'regress_pool_team';
SELECT alloc_pool_create('set', '{0-9}', 'int');
SELECT alloc_pool_create('own', '{0-9}', 'int', owner => 'regress_pool_login');
SET pg_cas.owner = 'regress_pool_other';
SELECT alloc_pool_create('more', '{0-9}', 'int');
SET pg_cas.owner = 'regress_no_such_role';
SELECT alloc_pool_create('more', '{0-9}', 'int');
RESET pg_cas.owner;
SELECT pool, owner FROM alloc_pools ORDER BY pool;

-- if_not_exists leaves alone what is there; for who may use it
SELECT alloc_pool_create('given', '{5-7}', 'int', 'lowest', if_not_exists => true);
SELECT alloc_pool_create('new', '{5-7}', 'int', 'lowest', if_not_exists => true);
SELECT alloc_pool_create('new', '{5-7}', 'int', 'lowest', if_not_exists => true);
SELECT alloc_pool_create('given', '{10.0.0.0/24}', if_not_exists => true);
SELECT alloc_pool_create('given', '{5-7}', 'int');
SELECT pool, strategy, ranges FROM alloc_pools WHERE pool IN ('given', 'new') ORDER BY pool;
SET ROLE regress_pool_other;
SELECT alloc_pool_create('given', '{5-7}', 'int', if_not_exists => true);
RESET ROLE;

-- rows as a restore or a subscription brings them: the name decides
SET session_replication_role = replica;
INSERT INTO cas_internal.alloc_pool (name, kind, strategy, cooldown, owner, owner_name)
    VALUES ('applied', 'int', 'any', '0', 1, 'regress_pool_team'),
           ('missing', 'int', 'any', '0', 1, 'regress_no_such_role');
INSERT INTO cas_internal.alloc_grantee (pool, role, role_name)
    SELECT id, 1, unnest('{regress_pool_other,regress_no_such_role}'::text[])
    FROM cas_internal.alloc_pool WHERE name = 'applied';
SELECT name, owner::regrole, owner_name FROM cas_internal.alloc_pool WHERE owner_name ~ 'team|such' AND name IN ('applied', 'missing') ORDER BY 1;
SELECT (SELECT r.rolname FROM pg_roles AS r WHERE r.oid = g.role), g.role_name FROM cas_internal.alloc_grantee AS g ORDER BY 2;
UPDATE cas_internal.alloc_pool SET owner_name = 'regress_pool_other', owner = 1 WHERE name = 'applied';
SELECT owner::regrole FROM cas_internal.alloc_pool WHERE name = 'applied';
RESET session_replication_role;
SELECT pool, owner = current_user AS ours, granted FROM alloc_pools WHERE pool IN ('applied', 'missing') ORDER BY pool;
SET ROLE regress_pool_other;
SELECT pool, owner FROM alloc_pools;
RESET ROLE;

SELECT count(alloc_release(pool, key)) > 0 FROM alloc_units;
SELECT count(alloc_pool_drop(pool)) > 0 FROM alloc_pools;
SELECT count(*) FROM cas_internal.alloc_grantee;
DROP ROLE regress_pool_owner, regress_pool_owner2, regress_pool_user,
    regress_pool_team, regress_pool_login, regress_pool_other;
