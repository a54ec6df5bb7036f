# A lost update in plain SQL, by two sessions that do nothing unusual.

title 'A lost update, in plain SQL'

say 'A gateway keeps its objects as documents.  Two replicas attach a' \
    'provider each to the same sandbox.'
sql alice "CREATE TABLE sandbox (id text PRIMARY KEY, doc jsonb NOT NULL)"
sql alice "INSERT INTO sandbox VALUES ('web', '{\"providers\": [\"git\"]}')"

say 'Both read the document, in a transaction even,'
sql alice "BEGIN"
sql alice "SELECT doc FROM sandbox WHERE id = 'web'"
sql bob "BEGIN"
sql bob "SELECT doc FROM sandbox WHERE id = 'web'"

say 'add their provider, and write it back.'
sql alice "UPDATE sandbox SET doc = '{\"providers\": [\"git\", \"s3\"]}'
WHERE id = 'web'"
sql_start bob "UPDATE sandbox SET doc = '{\"providers\": [\"git\", \"gpu\"]}'
WHERE id = 'web'"
sql alice "COMMIT"
sql_finish bob
sql bob "COMMIT"

say 'Both were told that it worked.  What is there?'
sql alice "SELECT doc FROM sandbox WHERE id = 'web'"
say "Alice's s3 is lost, and nobody knows."
