-- What all parts share.
CREATE EXTENSION pg_cas;
CREATE FUNCTION document(n int) RETURNS jsonb STABLE LANGUAGE sql AS $$
    SELECT jsonb_build_object('n', n, 'name', 'object ' || n,
        'labels', jsonb_build_object('team', 'blue', 'zone', 'b'),
        'spec', jsonb_build_object('cpu', 4, 'memory', '16Gi', 'image', 'sandbox:1.2'))
$$;
