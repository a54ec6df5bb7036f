-- A pool of 2^16 addresses, half of them held, and a thousand documents.
SELECT alloc_pool_create('sized', '{10.0.0.0-10.0.255.255}');
SELECT count(alloc_ip('sized', lpad(i::text, 32, '0')::uuid)) FROM generate_series(1, 32768) AS i;
CREATE TABLE sized (id text PRIMARY KEY, payload jsonb NOT NULL, resource_version bigint NOT NULL DEFAULT 1);
INSERT INTO sized SELECT 'k' || i, document(i), 1 FROM generate_series(0, 999) AS i;
SELECT cas_enable('sized', payload_column => 'payload');
