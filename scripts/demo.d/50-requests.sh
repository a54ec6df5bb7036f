# A request that is cancelled, and a connection that goes on in its
# transaction; a request that is tried again.

title 'A cancelled request leaves its transaction open'

say 'A pool has one connection.  A request begins a transaction on it, and is' \
    'cancelled: nobody commits, nobody rolls back.  The next request gets the' \
    'connection, bumps a counter, and is told that it worked.'
sql pool "CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL)"
sql pool "INSERT INTO counter VALUES (1, 7)"
sql pool "BEGIN"
sql pool "UPDATE counter SET n = n + 1 RETURNING n"
sql other "SELECT n FROM counter"
say 'Nobody else sees it, and when the process ends it is gone.'
sql pool "ROLLBACK"

title 'The same, with claims'

say 'Each request says who it is, in a setting that its writes carry along.'
sql pool "SELECT cas_enable('counter')"
sql pool "BEGIN"
sql pool "SET LOCAL pg_cas.request = 'GET /sleep 4711'"
sql pool "UPDATE counter SET n = n RETURNING n"
say 'It is cancelled.  The next one, on the same connection:'
sql pool "SET LOCAL pg_cas.request = 'POST /bump 4712'"
sql_error pool 25001 "UPDATE counter SET n = n + 1 RETURNING n"
say 'By default the connection is ended, so the pool makes another one, and the' \
    'lost transaction is rolled back at once.  The bump was not acknowledged,' \
    'and can be tried again:'
sql retry "UPDATE counter SET n = n + 1 RETURNING n"
sql other "SELECT n FROM counter"

title 'A request that is tried again'

say 'A job has a key.  It runs once; whoever repeats it gets its result.'
sql alice "CREATE FUNCTION send(request jsonb) RETURNS jsonb LANGUAGE sql AS
    'SELECT jsonb_build_object(''sent'', request, ''id'', gen_random_uuid())'"
sql alice "SELECT request_once('mail', 'welcome bob', '{\"to\": \"bob\"}', 'send(jsonb)')"
sql bob "SELECT request_once('mail', 'welcome bob', '{\"to\": \"bob\"}', 'send(jsonb)')"
say 'The same key for something else is a mistake, and is told.'
sql_error bob PT422 "SELECT request_once('mail', 'welcome bob', '{\"to\": \"eve\"}', 'send(jsonb)')"
