-- The operations as they were: look, decide, act on what was seen.  Nothing
-- holds between the look and the act.

CREATE SCHEMA plain;
SET search_path = plain, repo, public;

CREATE FUNCTION add_packages(target text, new jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    known jsonb := (SELECT packages FROM repo.repository WHERE name = target);
BEGIN
    PERFORM work();
    UPDATE repo.repository SET packages = united(known, new) WHERE name = target;
END
$$;

CREATE FUNCTION create_repository(new text, said text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM repo.repository WHERE name = new) THEN
        RAISE unique_violation USING MESSAGE = 'there is one of that name';
    END IF;
    PERFORM work();
    INSERT INTO repo.repository (name, comment) VALUES (new, said)
    ON CONFLICT (name) DO UPDATE SET comment = excluded.comment;
END
$$;

CREATE FUNCTION rename_repository(old text, new text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    loaded repo.repository := r FROM repo.repository AS r WHERE r.name = old;
BEGIN
    IF EXISTS (SELECT FROM repo.repository WHERE name = new) THEN
        RAISE unique_violation USING MESSAGE = 'there is one of that name';
    END IF;
    PERFORM work();
    DELETE FROM repo.repository WHERE name = old;
    INSERT INTO repo.repository (name, packages) VALUES (new, loaded.packages)
    ON CONFLICT (name) DO UPDATE SET packages = excluded.packages;
END
$$;

CREATE FUNCTION publish(new text, of text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM repo.snapshot WHERE name = of) THEN
        RAISE no_data_found USING MESSAGE = 'no such snapshot';
    END IF;
    PERFORM work();
    INSERT INTO repo.publication VALUES (new, of);
END
$$;

CREATE FUNCTION drop_snapshot(dropped text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM repo.publication WHERE snapshot = dropped) THEN
        RAISE foreign_key_violation USING MESSAGE = 'it is published';
    END IF;
    PERFORM work();
    DELETE FROM repo.snapshot WHERE name = dropped;
END
$$;

CREATE FUNCTION snapshot_mirror(new text, of text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    known jsonb := (SELECT packages FROM repo.mirror WHERE name = of);
BEGIN
    PERFORM work();
    INSERT INTO repo.snapshot VALUES (new, known);
    INSERT INTO repo.snapshot_source VALUES (new, of);
END
$$;

CREATE FUNCTION drop_mirror(dropped text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM repo.snapshot_source WHERE mirror = dropped) THEN
        RAISE foreign_key_violation USING MESSAGE = 'it has snapshots';
    END IF;
    PERFORM work();
    DELETE FROM repo.mirror WHERE name = dropped;
END
$$;

CREATE FUNCTION change_snapshot(changed text, new jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM work();
    UPDATE repo.snapshot SET packages = united(packages, new) WHERE name = changed;
    INSERT INTO repo.done (what) VALUES ('changed');
END
$$;

CREATE FUNCTION merge(new text, a text, b text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    merged jsonb := united((SELECT packages FROM repo.snapshot WHERE name = a),
                         (SELECT packages FROM repo.snapshot WHERE name = b));
BEGIN
    PERFORM work();
    PERFORM pg_sleep(0.3);
    INSERT INTO repo.snapshot VALUES (new, merged);
    INSERT INTO repo.done (what) VALUES ('merged');
END
$$;

CREATE FUNCTION pull(target text, source text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    pulled jsonb := (SELECT packages FROM repo.snapshot WHERE name = source);
BEGIN
    PERFORM work();
    PERFORM pg_sleep(0.3);
    UPDATE repo.repository SET packages = united(packages, pulled) WHERE name = target;
    INSERT INTO repo.done (what) VALUES ('merged');
END
$$;

CREATE FUNCTION rename_mirror(old text, new text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM work();
    UPDATE repo.mirror SET name = new WHERE name = old;
END
$$;

-- Takes hours, and writes back what it began with.
CREATE PROCEDURE update_mirror(updated text, new jsonb, worker text, pause float) LANGUAGE plpgsql AS $$
DECLARE
    loaded repo.mirror := m FROM repo.mirror AS m WHERE m.name = updated;
BEGIN
    COMMIT;
    PERFORM work();
    PERFORM pg_sleep(pause);
    INSERT INTO repo.mirror VALUES (loaded.name, new, worker)
    ON CONFLICT (name) DO UPDATE SET packages = excluded.packages, updated_by = excluded.updated_by;
    INSERT INTO repo.done (what) VALUES (worker);
END
$$;
