# Locks on named resources, a table that cannot be written without, and a
# lease whose late holder is fenced out.

title 'Locks on names: first the lock, then the look'

say 'A repository is more than one row, so its operations lock its name.' \
    'The table is not to be written without.'
sql alice "CREATE TABLE package (repo text, name text)"
sql alice "SELECT lock_protect('package', 'repo:{repo}')"
sql alice "BEGIN"
sql alice "SELECT * FROM lock_acquire('{repo:main}', '{repo:base}')"
sql bob "BEGIN"
sql_start bob "SELECT * FROM lock_acquire('{repo:main}')"
sql alice "INSERT INTO package SELECT 'main', 'pg'
WHERE NOT EXISTS (SELECT FROM package WHERE name = 'pg')"
sql alice "COMMIT"
sql_finish bob
say 'What Bob reads now is what Alice has committed.'
sql bob "INSERT INTO package SELECT 'main', 'pg'
WHERE NOT EXISTS (SELECT FROM package WHERE name = 'pg')"
sql bob "COMMIT"

say 'Somebody in psql forgets the lock:'
sql_error alice PT428 "DELETE FROM package"

title 'Leases: for work that is longer than a transaction'

say 'Alice mirrors for a second, at most.  She is held up, and Bob takes over.'
sql alice "SELECT lease_acquire('mirror', 'alice', '1 second') AS fence \\gset
SELECT :fence AS fence"
sql bob "SELECT pg_sleep(1.1)"
sql bob "SELECT lease_acquire('mirror', 'bob', '1 hour') AS fence \\gset
SELECT :fence AS fence"
say 'Alice wakes up, and does not know.  The fence does.'
sql alice "BEGIN"
sql_error alice PT412 "SELECT lease_guard('mirror', :fence)"
sql alice "ROLLBACK"
