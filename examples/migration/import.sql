-- Imports what the table inventory (pool, units) has, and compares; for the
-- other scripts.
SELECT i.pool, r.outcome, count(*)
FROM inventory AS i, alloc_import(i.pool, i.units) AS r
GROUP BY i.pool, r.outcome ORDER BY i.pool, r.outcome;
SELECT i.pool, r.value, r.key, r.outcome
FROM inventory AS i, alloc_import(i.pool, i.units) AS r
WHERE r.outcome <> 'held' ORDER BY i.pool, r.value;
SELECT i.pool, count(r.problem) AS differences
FROM inventory AS i LEFT JOIN alloc_reconcile(i.pool, i.units) AS r ON true
GROUP BY i.pool ORDER BY i.pool;
