-- set: pg_cas.direct_path=off
\set i :i + 1
SELECT cas_update('spi', 'k' || :i, 1, :payload);
