\set i :i + 1
SELECT alloc_ip('p', lpad((:i % 1000 + 1)::text, 32, '0')::uuid);
