CREATE TABLE claimed (id text PRIMARY KEY, payload jsonb NOT NULL, resource_version bigint NOT NULL DEFAULT 1);
INSERT INTO claimed SELECT 'k' || i, document(i), 1 FROM generate_series(0, 99999) AS i;
SELECT cas_enable('claimed', payload_column => 'payload');
