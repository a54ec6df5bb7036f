\set i :i + 1
UPDATE plain SET payload = document(7) WHERE id = 'k' || :i;
