-- name: matches_extend
-- Of several plays, updates those that are stored with the same track, which most are; returns their ids.
update matches m
set state = new.state, starts = new.starts, ends = new.ends, track_starts = new.track_starts,
    track_ends = new.track_ends, speed = new.speed, score_sum = new.score_sum, scored = new.scored, llr = new.llr,
    bridged = new.bridged, ambiguous = new.ambiguous, stopped = new.stopped, changed_at = now()
from unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::float8[],
            $9::float8[], $10::integer[], $11::float8[], $12::bigint[], $13::boolean[], $14::boolean[])
     as new (id, track_id, state, starts, ends, track_starts, track_ends, speed, score_sum, scored, llr, bridged,
             ambiguous, stopped)
where m.id = new.id and m.track_id = new.track_id
returning m.id

-- name: match_upsert
-- A young play that another track explains better moves to that track, and so does its alert.
with kept as (
insert into matches (id, stream_id, track_id, track, detector, version, state, starts, ends, track_starts, track_ends,
                     speed, score_sum, scored, llr, bridged, ambiguous, stopped)
select $1, $2, t.id,
       jsonb_build_object('id', t.id, 'title', t.title, 'artist', t.artist, 'album', t.album, 'isrc', t.isrc,
                          'source', t.source)
       || jsonb_strip_nulls(jsonb_build_object('label', t.label, 'rights_holder', t.rights_holder, 'iswc', t.iswc,
                                               'upc', t.upc, 'own_id', t.own_id)),
       $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
from tracks t where t.id = $3
on conflict (id) do update
set track_id = excluded.track_id,
    track = case when matches.track_id = excluded.track_id then matches.track else excluded.track end,
    state = excluded.state, starts = excluded.starts, ends = excluded.ends, track_starts = excluded.track_starts,
    track_ends = excluded.track_ends, speed = excluded.speed, score_sum = excluded.score_sum, scored = excluded.scored,
    llr = excluded.llr, bridged = excluded.bridged, ambiguous = excluded.ambiguous,
    stopped = excluded.stopped, changed_at = now()
returning id, track)
update alerts a set track = kept.track from kept where a.match_id = kept.id and a.track is distinct from kept.track

-- name: matches_close
update matches set state = 'closed', changed_at = now() where id = any ($1::uuid[]) and state = 'open'

-- name: close_orphans
-- Writes an event for each if events are published ($1).
with closed as (
    update matches m set state = 'closed', changed_at = now()
    where m.state = 'open'
      and (m.track_id is null or exists (
          select from streams s left join progress p on p.stream_id = s.id
          where s.id = m.stream_id and s.removed_at is not null
            and greatest(s.removed_at, p.updated_at) < now() - interval '30 seconds'))
    returning m.*
)
insert into outbox (event, stream_id, body)
select gen_random_uuid(), c.stream_id,
       jsonb_build_object('type', 'match.closed', 'stream_name', s.name, 'match', to_jsonb(c))
from closed c join streams s on s.id = c.stream_id
where $1

-- name: open_plays
-- Includes those that a shutdown closed and that may continue: a restart within $3 samples does not end a play.
select m.id, m.track_id, m.starts, m.ends, m.track_starts, m.track_ends, m.speed, m.score_sum, m.scored, m.llr,
       m.bridged, m.ambiguous
from matches m left join progress p on p.stream_id = m.stream_id
where m.stream_id = $1 and m.detector = $2 and m.track_id is not null
  and (m.state = 'open' or (m.stopped and m.ends > p.position - $3))
order by m.starts, m.id

-- name: ended_plays
-- Plays that ended at or after a stream clock: no new play of the same track may overlap them.
select m.id, m.track_id, m.starts, m.ends, m.track_starts, m.track_ends, m.speed, m.score_sum, m.scored, m.llr,
       m.bridged, m.ambiguous
from matches m
where m.stream_id = $1 and m.detector = $2 and m.track_id is not null and m.state = 'closed' and not m.stopped and m.ends >= $3
order by m.starts, m.id

-- name: matches
select m.id, m.stream_id, s.name as stream_name, m.track_id, m.track, m.detector, m.version, m.state, m.starts, m.ends,
       m.track_starts, m.track_ends, m.score_sum / m.scored as score, m.llr, m.bridged, m.ambiguous
from matches m join streams s on s.id = m.stream_id
where ($1::text is null or s.name = $1)
  and ($2::text is null or m.state = $2)
  and ($3::bigint is null or m.ends > $3)
order by m.starts desc, m.id
limit $4

-- name: match
select m.id, m.stream_id, s.name as stream_name, m.track_id, m.track, m.detector, m.version, m.state, m.starts, m.ends,
       m.track_starts, m.track_ends, m.score_sum / m.scored as score, m.llr, m.bridged, m.ambiguous
from matches m join streams s on s.id = m.stream_id
where m.id = $1

-- name: open_counts
select s.id, count(m.id)
from streams s left join matches m on m.stream_id = s.id and m.state = 'open'
where s.removed_at is null or m.id is not null
group by s.id
