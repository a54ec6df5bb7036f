-- work: request_once of a stored request
-- of: requests
-- sizes: 10 1000 100000 5000000
-- quick: 10 1000
-- setup: SELECT request_scope_set('grown')
-- grow: CALL make_requests({from}, {to})
\set i random(1, {size})
SELECT request_once('grown', 'key ' || :i, '{}', 'nothing(jsonb)');
