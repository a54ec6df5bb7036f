# Allocation: ask, ask again, fill the pool, ask again, be refused, release.

title 'Addresses: the same one again, never one twice'

sql alice "SELECT alloc_pool_create('external', '{198.51.100.0/29}',
    strategy => 'lowest', port_chunk => 16384)"

say 'A saga asks for an address, crashes, and asks again with the same key.'
sql alice "SELECT alloc_ip('external', '00000000-0000-0000-0000-000000000001')"
sql alice "SELECT alloc_ip('external', '00000000-0000-0000-0000-000000000001')"

say 'Two sessions with one key at the same moment: the second one waits.'
sql alice "BEGIN"
sql alice "SELECT alloc_ip('external', '00000000-0000-0000-0000-000000000002')"
sql_start bob "SELECT alloc_ip('external', '00000000-0000-0000-0000-000000000002')"
sql alice "COMMIT"
sql_finish bob

say 'A quarter of an address, for source-NAT; then the pool is filled.'
sql bob "SELECT * FROM alloc_ports('external', '00000000-0000-0000-0000-0000000000aa')"
sql bob "SELECT value FROM alloc_many('external', ARRAY(
    SELECT ('00000000-0000-0000-0000-00000000001' || n)::uuid
    FROM generate_series(1, 3) AS n))"
sql bob "SELECT * FROM alloc_map('external')"

say 'Nothing is left but chunks.  Who has an address still gets it.'
sql_error bob PT507 "SELECT alloc_ip('external', '00000000-0000-0000-0000-000000000003')"
sql bob "SELECT alloc_ip('external', '00000000-0000-0000-0000-000000000001')"

say 'Released, it goes to the next one.'
sql alice "SELECT alloc_release('external', '00000000-0000-0000-0000-000000000001')"
sql bob "SELECT alloc_ip('external', '00000000-0000-0000-0000-000000000003')"
sql bob "SELECT * FROM alloc_usage('external')"
