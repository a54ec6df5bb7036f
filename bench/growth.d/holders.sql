-- work: lock_holders while nobody holds a name
-- of: names
-- sizes: 10 1000 100000
-- quick: 10 1000
-- grow: CALL make_names({from}, {to})
SELECT count(*) FROM lock_holders;
