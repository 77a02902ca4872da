-- name: coverage_extend
-- Extends the newest interval of each of several streams, if it is adjacent and alike; returns the streams extended.
update coverage c
set ends = new.ends
from unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
     as new (stream_id, state, starts, ends, reason)
     cross join lateral (
         select starts from coverage of where of.stream_id = new.stream_id order by starts desc limit 1
     ) newest
where c.stream_id = new.stream_id and c.starts = newest.starts
  and c.ends = new.starts and c.state = new.state and c.reason is not distinct from new.reason
returning c.stream_id

-- name: coverage_insert
insert into coverage (stream_id, starts, ends, state, reason) values ($1, $3, $4, $2, $5)

-- name: coverage
-- The newest intervals of all streams together, so that a stream with many gaps leaves room for the others.
select * from (
    select c.stream_id, s.name as stream_name, c.starts, c.ends, c.state, c.reason
    from coverage c join streams s on s.id = c.stream_id
    where ($1::text is null or s.name = $1) and ($2::bigint is null or c.ends > $2)
    order by c.starts desc, c.stream_id
    limit $3
) newest
order by stream_id, starts desc
