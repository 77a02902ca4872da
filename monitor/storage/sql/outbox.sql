-- name: outbox_add
insert into outbox (event, stream_id, body)
select $1, m.stream_id,
       jsonb_build_object('type', $2::text, 'stream_name', s.name, 'match', to_jsonb(m))
       || case when $2 = 'alert.raised' then jsonb_build_object('alert', to_jsonb(a)) else '{}' end
from matches m join streams s on s.id = m.stream_id left join alerts a on a.match_id = m.id
where m.id = $3
on conflict (event) do nothing

-- name: outbox_next
select id, event, stream_id, body, written_at from outbox order by id limit $1

-- name: outbox_delete
delete from outbox where id = any ($1::bigint[])

-- name: outbox_count
select count(*) from outbox
