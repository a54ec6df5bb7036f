\set i :i + 1
SELECT slot FROM bare WHERE pool = 0 AND key = lpad((:i % 1000 + 1)::text, 32, '0')::uuid;
