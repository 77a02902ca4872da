-- name: lock_session
select pg_advisory_lock($1)

-- name: try_lock_transaction
select pg_try_advisory_xact_lock($1)
