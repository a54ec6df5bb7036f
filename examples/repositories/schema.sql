-- A manager of package repositories: what it keeps, and the state from which
-- each race starts.

CREATE SCHEMA repo;
SET search_path = repo, public;

CREATE TABLE repository (name text PRIMARY KEY, packages jsonb NOT NULL DEFAULT '[]', comment text);
CREATE TABLE mirror (name text PRIMARY KEY, packages jsonb NOT NULL DEFAULT '[]', updated_by text);
CREATE TABLE snapshot (name text PRIMARY KEY, packages jsonb NOT NULL DEFAULT '[]');
-- A snapshot's sources and a publication's snapshot are named, without foreign
-- keys: the program that all this comes from kept them in a key-value store,
-- and so do many.
CREATE TABLE snapshot_source (snapshot text, mirror text, PRIMARY KEY (snapshot, mirror));
CREATE TABLE publication (name text PRIMARY KEY, snapshot text NOT NULL);

-- What was done, in the order in which it was done.
CREATE TABLE done (n serial, what text);

CREATE FUNCTION start() RETURNS void LANGUAGE sql AS $$
    DELETE FROM repository; DELETE FROM mirror; DELETE FROM snapshot;
    DELETE FROM snapshot_source; DELETE FROM publication; DELETE FROM done;
    INSERT INTO repository (name, packages) VALUES ('main', '["base"]'), ('other', '[]');
    INSERT INTO mirror (name, packages) VALUES ('debian', '["old"]');
    INSERT INTO snapshot (name, packages) VALUES ('monday', '["m"]'), ('tuesday', '["t"]');
$$;

-- The time that passes between looking and acting: downloads, checks, other
-- services.  It lets another session's operation come to the same point if it
-- can, so that a race that can be lost is lost; but it does not wait for ever.
CREATE FUNCTION work() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4711);
    FOR i IN 1 .. 25 LOOP
        EXIT WHEN (SELECT count(*) > 1 FROM pg_locks
                   WHERE locktype = 'advisory' AND objid = 4711);
        PERFORM pg_sleep(0.02);
    END LOOP;
    PERFORM pg_sleep(0.1);
END
$$;

-- Two lists in one, each package once.
CREATE FUNCTION united(a jsonb, b jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT coalesce(jsonb_agg(DISTINCT p ORDER BY p), '[]')
    FROM jsonb_array_elements_text(a || b) AS p
$$;
