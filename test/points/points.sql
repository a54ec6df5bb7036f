-- The functions of pg_cas_points.c, and what the specs of test/points share.
-- They follow test/helpers in the first spec's setup block, where no closing
-- brace may stand.

-- From now on this session waits before or after an operation on the relation,
-- at the nth call of it (0: at each), for an advisory lock; without one, for
-- that of the row's place, which hold_place() takes.  A session has its own.
CREATE FUNCTION cas_test.points_stop(relation regclass, at text, nth int,
	lock bigint) RETURNS void AS 'pg_cas_points' LANGUAGE C;

-- From now on an operation (tuple_update, tuple_delete, tuple_lock) on the relation
-- does nothing, at the nth call of it (0: at each), and says that the row was
-- "updated" or "deleted", or that it "would block".
CREATE FUNCTION cas_test.points_refuse(relation regclass, operation text, nth int,
	result text) RETURNS void AS 'pg_cas_points' LANGUAGE C STRICT;
CREATE FUNCTION cas_test.points_clear() RETURNS void
	AS 'pg_cas_points' LANGUAGE C STRICT;

-- Hold up whoever comes to the row at this place.
CREATE FUNCTION cas_test.hold_place(place tid) RETURNS void LANGUAGE sql
	AS $$ SELECT pg_advisory_lock((p::text::point)[0]::int, (p::text::point)[1]::int) FROM (VALUES (place)) AS _ (p) $$;
