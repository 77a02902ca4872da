-- Statements of the stream assignment. The tables belong to monitor/storage/sql/migrations.

-- name: all_streams
select s.id, s.url, p.position
from streams s left join progress p on p.stream_id = s.id
where s.enabled and s.removed_at is null
order by s.id

-- name: count_streams
select count(*) from streams s where s.enabled and s.removed_at is null

-- name: seen
insert into ingest_processes (id, name, expires_at) values ($1, $2, now() + $3)
on conflict (id) do update set expires_at = excluded.expires_at

-- name: left
delete from ingest_processes where id = $1 or expires_at < now() - interval '1 day'

-- name: add_missing
insert into leases (stream_id)
select s.id from streams s
where s.enabled and s.removed_at is null and not exists (select from leases where stream_id = s.id)
on conflict do nothing

-- name: release
update leases l set holder = null, expires_at = now()
where l.holder = $1 and not l.stream_id = any ($2::bigint[])
  and ($4 or l.stream_id = any ($3::bigint[])
       or not exists (
           select from streams s where s.id = l.stream_id and s.enabled and s.removed_at is null))
returning l.stream_id

-- name: renew
update leases set expires_at = now() + $2 where holder = $1 and expires_at > now() returning stream_id, epoch

-- name: regain
with own as (
    select stream_id from leases where holder = $1 and expires_at <= now() for update skip locked
)
update leases l set epoch = l.epoch + 1, expires_at = now() + $2
from own where l.stream_id = own.stream_id
returning l.stream_id, l.epoch

-- name: held
select p.id, count(s.id) as streams
from ingest_processes p
left join leases l on l.holder = p.id and l.expires_at > now()
left join streams s on s.id = l.stream_id and s.enabled and s.removed_at is null
where p.expires_at > now()
group by p.id

-- name: claim
with free as (
    select l.stream_id, l.holder
    from leases l join streams s on s.id = l.stream_id
    where s.enabled and s.removed_at is null
      and (l.holder is null or (l.expires_at <= now() and $3))
    order by l.stream_id
    limit $4
    for update of l skip locked
)
update leases l set holder = $1, epoch = l.epoch + 1, expires_at = now() + $2
from free where l.stream_id = free.stream_id
returning l.stream_id, l.epoch, free.holder as before

-- name: own_streams
select s.id, s.url, p.position
from leases l join streams s on s.id = l.stream_id left join progress p on p.stream_id = s.id
where l.holder = $1 and s.enabled and s.removed_at is null
order by s.id
