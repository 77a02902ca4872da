-- name: alert_raise
insert into alerts (match_id, severity, track)
select id, $2, track from matches where id = $1
on conflict (match_id) do nothing

-- name: alerts
select a.id, a.match_id, a.severity, a.state, a.track, s.name as stream_name, a.raised_at, m.starts, m.ends
from alerts a join matches m on m.id = a.match_id join streams s on s.id = m.stream_id
where $1::text is null or a.state = $1
order by a.raised_at desc, a.id desc
limit $2
