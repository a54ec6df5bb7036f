-- FreeRADIUS' table of addresses in PostgreSQL.  It has a row for each address
-- that the server may give out.
CREATE TABLE radippool (
    id               bigserial PRIMARY KEY,
    pool_name        text NOT NULL,
    framedipaddress  inet NOT NULL,
    nasipaddress     text NOT NULL DEFAULT '',
    pool_key         text NOT NULL DEFAULT '',
    calledstationid  text NOT NULL DEFAULT '',
    callingstationid text NOT NULL DEFAULT '',
    expiry_time      timestamp(0) without time zone NOT NULL DEFAULT now(),
    username         text DEFAULT ''
);
INSERT INTO radippool (pool_name, framedipaddress, nasipaddress, pool_key, callingstationid, expiry_time, username) VALUES
    ('dialup', '10.43.0.1', '192.0.2.1', '17', '02-00-00-00-43-01', '2099-01-01', 'alice'),
    ('dialup', '10.43.0.2', '192.0.2.1', '18', '02-00-00-00-43-02', '2099-01-01', 'bob'),
    ('dialup', '10.43.0.3', '', '', '', '2023-11-14', ''),
    ('dialup', '10.43.0.4', '192.0.2.2', '17', '02-00-00-00-43-04', '2023-11-14', 'carol'),
    ('dialup', '10.43.0.7', '', '', '', '2023-11-14', ''),
    ('office', '10.44.0.1', '192.0.2.2', '3', '02-00-00-00-44-01', '2099-01-01', 'dave');
