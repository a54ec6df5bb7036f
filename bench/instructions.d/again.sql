\set i :i + 1
SELECT alloc_ip('p', lpad(:i::text, 32, '0')::uuid);
