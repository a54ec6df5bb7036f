\set i :i + 1
INSERT INTO bare VALUES (1, lpad((:i + 1000000)::text, 32, '0')::uuid, :i);
DELETE FROM bare WHERE pool = 1 AND key = lpad((:i + 1000000)::text, 32, '0')::uuid;
