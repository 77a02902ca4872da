-- name: progress
select position, log_partition, log_offset, replay_offset, epoch from progress where stream_id = $1

-- name: progress_in_partition
-- The same streams as in replay_offset.
select p.stream_id, p.position, p.log_partition, p.log_offset, p.replay_offset, p.epoch
from progress p join streams s on s.id = p.stream_id
where p.log_partition = $1
  and (s.removed_at is null or s.removed_at > now() - interval '5 minutes')
  and p.updated_at > (select max(updated_at) from progress where log_partition = $1) - interval '5 minutes'

-- name: replay_offset
-- Streams that were removed, or had no progress for five minutes, are left out: they would make the others re-read hours.
-- The five minutes end at the newest progress, so that no stream is left out after an outage of everything.
select min(p.replay_offset)
from progress p join streams s on s.id = p.stream_id
where p.log_partition = $1
  and (s.removed_at is null or s.removed_at > now() - interval '5 minutes')
  and p.updated_at > (select max(updated_at) from progress where log_partition = $1) - interval '5 minutes'

-- name: progress_first
insert into progress (stream_id, position, log_partition, log_offset, replay_offset, epoch)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing
returning stream_id

-- name: progress_advance
-- Of several streams; returns those that were at the expected position.
update progress p
set position = new.position, log_partition = new.log_partition, log_offset = new.log_offset,
    replay_offset = new.replay_offset, epoch = new.epoch, updated_at = now()
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[])
     as new (stream_id, expected, position, log_partition, log_offset, replay_offset, epoch)
where p.stream_id = new.stream_id and p.position = new.expected
returning p.stream_id
