\set i :i + 1
SELECT alloc_ip('p', lpad((:i + 1000000)::text, 32, '0')::uuid);
SELECT alloc_release('p', lpad((:i + 1000000)::text, 32, '0')::uuid);
