-- name: coverage_extend
update coverage set ends = $4
where (stream_id, starts) = (select stream_id, starts from coverage where stream_id = $1 order by starts desc limit 1)
  and ends = $3 and state = $2 and reason is not distinct from $5
returning starts

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
