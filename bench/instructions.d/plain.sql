\set i :i + 1
UPDATE plain SET payload = :payload WHERE id = 'k' || :i;
