# The same race through cas_update and cas_try_update, and the guard against
# a stale plain UPDATE.  Goes on with the table of the scene before.

title 'The same, with compare-and-swap'

say 'The table is put under compare-and-swap, with the row in it.'
sql alice "SELECT cas_enable('sandbox', payload_column => 'doc')"

say 'Both read again.  Now the document comes with its version.'
sql alice "SELECT * FROM cas_get('sandbox', 'web')"
sql bob "SELECT * FROM cas_get('sandbox', 'web')"

say 'Both write, and say which version they have read.'
sql alice "BEGIN"
sql alice "SELECT cas_update('sandbox', 'web', 1,
    '{\"providers\": [\"git\", \"gpu\", \"s3\"]}')"
sql_start bob "SELECT cas_update('sandbox', 'web', 1,
    '{\"providers\": [\"git\", \"gpu\", \"ssh\"]}')"
sql alice "COMMIT"
sql_finish bob PT409

title 'A conflict, resolved from the row that came with it'

say 'The try form does not raise.  Its answer is the row as it now stands,'
sql bob "SELECT * FROM cas_try_update('sandbox', 'web', 1,
    '{\"providers\": [\"git\", \"gpu\", \"ssh\"]}')"
say 'so Bob adds his provider to that, and tries with its version.'
sql bob "SELECT * FROM cas_try_update('sandbox', 'web', 2,
    '{\"providers\": [\"git\", \"gpu\", \"s3\", \"ssh\"]}')"

title 'Programs that know nothing of pg_cas'

say 'An ORM increments the version that it has read.  Had it read version 1,' \
    'and forgotten to say so in WHERE, the guard would stop it:'
sql_error alice PT409 "UPDATE sandbox SET doc = '{\"providers\": []}',
    resource_version = 1 + 1 WHERE id = 'web'"
say 'Somebody in psql does not think of versions at all.  The row gets a new' \
    'one, so that whoever has read the old one will learn of it.'
sql alice "UPDATE sandbox SET doc = doc || '{\"note\": \"by hand\"}'
WHERE id = 'web' RETURNING resource_version, doc"
