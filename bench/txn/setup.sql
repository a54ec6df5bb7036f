-- A hundred documents for each client, at version 1 when a run starts.
CREATE TABLE many_doc (id text PRIMARY KEY, payload jsonb NOT NULL, resource_version bigint NOT NULL DEFAULT 1);
CREATE TABLE many_peer (LIKE many_doc INCLUDING ALL);
SELECT cas_enable('many_doc', payload_column => 'payload');
CREATE PROCEDURE start_again() LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE many_doc, many_peer;
    INSERT INTO many_doc SELECT c || '/' || i, document(0), 1 FROM generate_series(0, 31) AS c, generate_series(1, 100) AS i;
    INSERT INTO many_peer SELECT * FROM many_doc;
END $$;
-- Each client's request, as the text that it sends; @ is the version.
CREATE TABLE request (client int PRIMARY KEY, swaps text, updates text);
ALTER TABLE request ALTER swaps SET STORAGE EXTERNAL, ALTER updates SET STORAGE EXTERNAL;
INSERT INTO request
SELECT c, '[' || string_agg(format('{"op": "update", "table": "many_doc", %s}', swap), ', ') || ']',
       '[' || string_agg(format('{%s}', swap), ', ') || ']'
FROM generate_series(0, 31) AS c, generate_series(1, 100) AS i,
     format('"id": "%s/%s", "version": @, "payload": %s', c, i, replace(document(0)::text, '0', '@')) AS swap
GROUP BY c;
