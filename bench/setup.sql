-- What all parts share.
CREATE EXTENSION pg_cas;
-- A document as a client sends it: text, to be parsed.
CREATE FUNCTION document(n int) RETURNS jsonb STABLE LANGUAGE sql AS $$
    SELECT replace('{"n": @, "name": "object @", "labels": {"team": "blue", "zone": "b"}, "spec": {"cpu": 4, "memory": "16Gi", "image": "sandbox:1.2"}}', '@', n::text)::jsonb
$$;
