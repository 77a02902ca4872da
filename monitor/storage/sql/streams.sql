-- name: stream_insert
insert into streams (name, url) values ($1, $2) on conflict do nothing returning id

-- name: streams
select s.id, s.name, s.url, s.added_at, p.position, p.updated_at as advanced_at, c.state, c.reason
from streams s
left join progress p on p.stream_id = s.id
left join lateral (
    select state, reason from coverage where stream_id = s.id order by starts desc limit 1
) c on true
where s.removed_at is null
order by s.id

-- name: stream_remove
update streams set enabled = false, removed_at = now() where name = $1 and removed_at is null returning id

-- name: stream_exists
select 1 from streams where id = $1
