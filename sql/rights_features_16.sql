-- Claim: the options of memberships that PostgreSQL 16 has brought: who inherits
-- the privileges of an owner may do what the owner may, and only who may SET ROLE
-- to a role can make it an owner.
\pset format unaligned
\pset tuples_only on
SELECT current_setting('server_version_num')::int < 160000 AS skip \gset
\if :skip
\echo 'skipped: needs PostgreSQL 16'
\quit
\endif
SET search_path = public, cas_test;
CREATE ROLE rights_16_team;
CREATE ROLE rights_16_other;
CREATE ROLE rights_16_heir;
CREATE ROLE rights_16_actor;
GRANT rights_16_team TO rights_16_heir WITH INHERIT TRUE, SET FALSE;
GRANT rights_16_team TO rights_16_actor WITH INHERIT FALSE, SET TRUE;
CREATE FUNCTION all_of_them() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT who || ': ' || statement || ': ' || try_as(who, statement)
	FROM unnest('{rights_16_heir,rights_16_actor}'::text[]) AS who,
		unnest(ARRAY[
			'SELECT alloc_int(''ours'', k(2))',
			'SELECT alloc_pool_set(''ours'', strategy => ''random'')',
			'SELECT count(*) FROM alloc_pools WHERE pool = ''ours''',
			'SELECT lease_set_owner(''ours'', ''rights_16_team'')',
			'SELECT count(*) FROM lease_holders WHERE name = ''ours''',
			'SELECT request_scope_set(''ours'', retention => ''1h'')',
			'SELECT alloc_pool_create(''more'', ''{0-9}'', ''int'', owner => ''rights_16_team'')',
			'SELECT request_scope_set(''ours'', ''rights_16_team'')']) WITH ORDINALITY AS s (statement, i)
	ORDER BY who DESC, i
$$;
SELECT alloc_pool_create('ours', '{0-9}', 'int', owner => 'rights_16_team');
SELECT alloc_int('ours', k(1));
SET ROLE rights_16_team;
SELECT fence > 0 FROM lease_try_acquire('ours', 'team', '1h', false);
BEGIN;
SELECT (request_begin('ours', 'a', '{}')).state;
SELECT request_done('ours', 'a', '{}');
COMMIT;
RESET ROLE;
SELECT * FROM all_of_them();
-- what is given to another role: only to one that the caller may become
SET ROLE rights_16_heir;
SELECT alloc_pool_create('mine', '{0-9}', 'int');
SELECT alloc_pool_set('mine', owner => 'rights_16_team');
SELECT alloc_pool_set('mine', owner => 'rights_16_other');
RESET ROLE;
SET ROLE rights_16_actor;
SELECT alloc_pool_create('acted', '{0-9}', 'int');
SELECT alloc_pool_set('acted', owner => 'rights_16_team');
SELECT alloc_pool_drop('acted');
SET ROLE rights_16_team;
SELECT alloc_pool_drop('acted');
RESET ROLE;
SELECT alloc_pool_drop('mine'), alloc_release('ours', k(1));
SELECT alloc_pool_drop('ours');
SELECT count(lease_release(name, fence)) FROM lease_holders WHERE name = 'ours';
SET client_min_messages = warning;
DELETE FROM cas_internal.request_scope WHERE scope = 'ours';
DELETE FROM cas_internal.request_result WHERE scope = 'ours';
DROP FUNCTION all_of_them();
DROP ROLE rights_16_team, rights_16_other, rights_16_heir, rights_16_actor;
