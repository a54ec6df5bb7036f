-- A count of the rows, as their owner could make it.
SELECT count(*) FROM cas_internal.alloc_slot WHERE pool = (SELECT id FROM cas_internal.alloc_pool WHERE name = 'used') AND key IS NOT NULL;
