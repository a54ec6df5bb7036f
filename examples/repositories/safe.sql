-- The same operations through pg_cas: each first takes the locks of all that
-- it reads (shared) and writes (exclusive), in one call, and looks afterwards.
--
-- The tables are under compare-and-swap, and nothing writes to them without
-- the lock of the row's name: not these functions, should one forget it, nor
-- the plain ones, nor somebody in psql.

CREATE SCHEMA safe;
SET search_path = safe, repo, public;

SELECT cas_enable(t) FROM unnest('{repository,mirror,snapshot,publication}'::regclass[]) AS t;
SELECT lock_protect('repository', 'repository:{name}'),
       lock_protect('mirror', 'mirror:{name}'),
       lock_protect('snapshot', 'snapshot:{name}'),
       lock_protect('snapshot_source', 'snapshot:{snapshot}'),
       lock_protect('publication', 'publication:{name}');

-- To start a race anew, everything is locked.
CREATE FUNCTION start() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_acquire(array_agg(what)) FROM (
        SELECT 'repository:' || name FROM repo.repository
        UNION SELECT 'mirror:' || name FROM repo.mirror
        UNION SELECT 'snapshot:' || name FROM repo.snapshot
        UNION SELECT 'snapshot:' || snapshot FROM repo.snapshot_source
        UNION SELECT 'publication:' || name FROM repo.publication
        UNION SELECT unnest('{repository:main,repository:other,mirror:debian,snapshot:monday,snapshot:tuesday}'::text[])
    ) AS everything (what);
    PERFORM repo.start();
END
$$;

CREATE FUNCTION add_packages(target text, new jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r cas_row;
BEGIN
    PERFORM lock_acquire(ARRAY['repository:' || target]);
    r := g FROM cas_get('repo.repository', target) AS g;
    PERFORM work();
    PERFORM cas_update('repo.repository', target, r.version,
                       jsonb_build_object('packages', united(r.payload->'packages', new)));
END
$$;

CREATE FUNCTION create_repository(new text, said text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_acquire(ARRAY['repository:' || new]);
    PERFORM work();
    -- 23505 if there is one of that name
    PERFORM cas_create('repo.repository', new, jsonb_build_object('comment', said));
END
$$;

CREATE FUNCTION rename_repository(old text, new text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r cas_row;
BEGIN
    PERFORM lock_acquire(ARRAY['repository:' || old, 'repository:' || new]);
    r := g FROM cas_get('repo.repository', old) AS g;
    PERFORM work();
    -- 23505 if it is taken, be it by the repository itself
    PERFORM cas_rename('repo.repository', old, coalesce(r.version, 0), new);
END
$$;

CREATE FUNCTION publish(new text, of text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_acquire(ARRAY['publication:' || new], ARRAY['snapshot:' || of]);
    IF NOT EXISTS (SELECT FROM repo.snapshot WHERE name = of) THEN
        RAISE no_data_found USING MESSAGE = 'no such snapshot';
    END IF;
    PERFORM work();
    PERFORM cas_create('repo.publication', new, jsonb_build_object('snapshot', of));
END
$$;

CREATE FUNCTION drop_snapshot(dropped text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s cas_row;
BEGIN
    PERFORM lock_acquire(ARRAY['snapshot:' || dropped]);
    IF EXISTS (SELECT FROM repo.publication WHERE snapshot = dropped) THEN
        RAISE foreign_key_violation USING MESSAGE = 'it is published';
    END IF;
    s := g FROM cas_get('repo.snapshot', dropped) AS g;
    PERFORM work();
    PERFORM cas_delete('repo.snapshot', dropped, s.version);
END
$$;

CREATE FUNCTION snapshot_mirror(new text, of text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m cas_row;
BEGIN
    PERFORM lock_acquire(ARRAY['snapshot:' || new], ARRAY['mirror:' || of]);
    m := g FROM cas_get('repo.mirror', of) AS g;
    IF m.version IS NULL THEN
        RAISE no_data_found USING MESSAGE = 'no such mirror';
    END IF;
    PERFORM work();
    PERFORM cas_create('repo.snapshot', new, jsonb_build_object('packages', m.payload->'packages'));
    INSERT INTO repo.snapshot_source VALUES (new, of);
END
$$;

CREATE FUNCTION drop_mirror(dropped text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m cas_row;
BEGIN
    PERFORM lock_acquire(ARRAY['mirror:' || dropped]);
    IF EXISTS (SELECT FROM repo.snapshot_source WHERE mirror = dropped) THEN
        RAISE foreign_key_violation USING MESSAGE = 'it has snapshots';
    END IF;
    m := g FROM cas_get('repo.mirror', dropped) AS g;
    PERFORM work();
    PERFORM cas_delete('repo.mirror', dropped, m.version);
END
$$;

CREATE FUNCTION change_snapshot(changed text, new jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s cas_row;
BEGIN
    PERFORM lock_acquire(ARRAY['snapshot:' || changed]);
    s := g FROM cas_get('repo.snapshot', changed) AS g;
    PERFORM work();
    PERFORM cas_update('repo.snapshot', changed, s.version,
                       jsonb_build_object('packages', united(s.payload->'packages', new)));
    INSERT INTO repo.done (what) VALUES ('changed');
END
$$;

CREATE FUNCTION merge(new text, a text, b text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    merged jsonb;
BEGIN
    PERFORM lock_acquire(ARRAY['snapshot:' || new], ARRAY['snapshot:' || a, 'snapshot:' || b]);
    merged := united((SELECT packages FROM repo.snapshot WHERE name = a),
                   (SELECT packages FROM repo.snapshot WHERE name = b));
    PERFORM work();
    PERFORM pg_sleep(0.3);
    PERFORM cas_create('repo.snapshot', new, jsonb_build_object('packages', merged));
    INSERT INTO repo.done (what) VALUES ('merged');
END
$$;

CREATE FUNCTION pull(target text, source text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    pulled jsonb;
    r cas_row;
BEGIN
    PERFORM lock_acquire(ARRAY['repository:' || target], ARRAY['snapshot:' || source]);
    pulled := (SELECT packages FROM repo.snapshot WHERE name = source);
    r := g FROM cas_get('repo.repository', target) AS g;
    PERFORM work();
    PERFORM pg_sleep(0.3);
    PERFORM cas_update('repo.repository', target, r.version,
                       jsonb_build_object('packages', united(r.payload->'packages', pulled)));
    INSERT INTO repo.done (what) VALUES ('merged');
END
$$;

CREATE FUNCTION rename_mirror(old text, new text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m cas_row;
BEGIN
    PERFORM lock_acquire(ARRAY['mirror:' || old, 'mirror:' || new]);
    m := g FROM cas_get('repo.mirror', old) AS g;
    PERFORM work();
    PERFORM cas_rename('repo.mirror', old, m.version, new);
END
$$;

-- An update that takes hours cannot hold a lock all the time.  Its program
-- acquires the lease 'update ' || name first, in a statement of its own, and
-- ends with this: under the mirror's lock, if the lease is still its own, it
-- writes what is new, and nothing that it had read.
CREATE FUNCTION finish_update(updated text, new jsonb, worker text, fence bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_acquire(ARRAY['mirror:' || updated]);
    PERFORM lease_guard('update ' || updated, fence);
    -- PT404 if the mirror was renamed or dropped in the meantime
    PERFORM cas_merge('repo.mirror', updated,
                      jsonb_build_object('packages', new, 'updated_by', worker));
    INSERT INTO repo.done (what) VALUES (worker);
END
$$;
