-- name: worker_upsert
insert into workers (
    id, name, state, streams, capacity_streams, costly_step, costly_share, behind_streams, behind_s, cpu
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (id) do update
set seen_at = now(), state = excluded.state, streams = excluded.streams, capacity_streams = excluded.capacity_streams,
    costly_step = excluded.costly_step, costly_share = excluded.costly_share,
    behind_streams = excluded.behind_streams, behind_s = excluded.behind_s, cpu = excluded.cpu

-- name: workers_running
select id, name, started_at, state, streams, capacity_streams, costly_step, costly_share, behind_streams, behind_s, cpu
from workers
where seen_at > now() - $1::interval
order by started_at, id

-- name: worker_delete
delete from workers where id = $1

-- name: workers_expire
delete from workers where seen_at < now() - $1::interval

-- name: ingest_is_running
select exists (select 1 from ingest_processes where expires_at > now())
