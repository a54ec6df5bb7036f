-- Documents: those of doc under compare-and-swap, those of peer versioned by
-- hand.  hot_doc and hot_peer have the one row that everybody wants.
CREATE TABLE doc (id text PRIMARY KEY, payload jsonb NOT NULL, resource_version bigint NOT NULL DEFAULT 1);
INSERT INTO doc SELECT 'k' || i, document(i), 1 FROM generate_series(0, 99999) AS i;
CREATE TABLE peer (LIKE doc INCLUDING ALL);
INSERT INTO peer SELECT * FROM doc;
CREATE TABLE hot_doc (LIKE doc INCLUDING ALL);
INSERT INTO hot_doc VALUES ('hot', document(0), 1);
CREATE TABLE hot_peer (LIKE doc INCLUDING ALL);
INSERT INTO hot_peer VALUES ('hot', document(0), 1);
SELECT cas_enable('doc', payload_column => 'payload');
SELECT cas_enable('hot_doc', payload_column => 'payload');

CREATE FUNCTION bump(payload jsonb, args jsonb) RETURNS jsonb IMMUTABLE LANGUAGE plpgsql
    AS $$ BEGIN RETURN jsonb_set(payload, '{n}', to_jsonb((payload ->> 'n')::int + 1)); END $$;
