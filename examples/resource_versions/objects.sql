-- The gateway's table as it was, rows and all, before anyone thought of
-- versions.  The documents carry one, which clients have sent along.
CREATE TABLE object (
    id text PRIMARY KEY,
    doc jsonb NOT NULL,
    kind text NOT NULL GENERATED ALWAYS AS (doc ->> 'kind') STORED,
    name text NOT NULL GENERATED ALWAYS AS (doc ->> 'name') STORED,
    UNIQUE (kind, name));

INSERT INTO object (id, doc) VALUES
    ('sb-1', '{"kind": "sandbox", "name": "web", "providers": [],
        "metadata": {"resource_version": 0}}'),
    ('sb-2', '{"kind": "sandbox", "name": "batch", "providers": [],
        "metadata": {"resource_version": 17}}'),
    ('sv-1', '{"kind": "service", "name": "api", "state": "ready"}');

-- Then a column was added; existing rows read 1.
ALTER TABLE object ADD COLUMN resource_version bigint NOT NULL DEFAULT 1;

-- What a replica does to a sandbox: a document in, a document out.
CREATE FUNCTION attach(doc jsonb, provider jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN doc -> 'providers' @> provider THEN doc
        ELSE jsonb_set(doc, '{providers}', (doc -> 'providers') || provider) END
$$;
CREATE FUNCTION detach(doc jsonb, provider jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_set(doc, '{providers}', (doc -> 'providers') - (provider #>> '{}'))
$$;
