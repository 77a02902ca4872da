-- The catalog

-- name: track_insert
insert into tracks (audio_sha256, status, n_samples, title, artist, album, isrc, source, label, rights_holder, iswc, upc,
                    territories, valid_from, valid_until, own_id, fields)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
on conflict (audio_sha256) do nothing
returning id

-- name: track_update
update tracks
set title = $2, artist = $3, album = $4, isrc = $5, source = $6, label = $7, rights_holder = $8, iswc = $9, upc = $10,
    territories = $11, valid_from = $12, valid_until = $13, own_id = $14, fields = $15
where id = $1
returning id

-- name: track_replace
update tracks
set audio_sha256 = $2, n_samples = $3, source = $4, revision = revision + 1, status = 'pending', error = null
where id = $1

-- name: track_revise
update tracks set revision = revision + 1 where id = $1

-- name: track_mended
update tracks set status = 'pending', error = null where id = $1 and status = 'failed'

-- name: track_status
update tracks set status = $2, error = $3 where id = $1 returning id

-- name: track_indexed
update tracks set status = 'ready' where id = $1 and status = 'pending'

-- name: track_excluded
select excluded from known_tracks where id = $1

-- name: track_of_audio
select id from tracks where audio_sha256 = $1

-- name: exclusions_delete
delete from exclusions where track_id = $1

-- name: exclusion_insert
insert into exclusions (track_id, starts, ends, note) values ($1, $2, $3, $4)

-- name: files_delete
delete from files where track_id = $1

-- name: file_insert
insert into files (sha256, track_id) select $1, id from tracks where id = $2
on conflict (sha256) do update set track_id = excluded.track_id

-- name: track_of_file
select k.* from known_tracks k join files f on f.track_id = k.id where f.sha256 = $1

-- name: fingerprint_upsert
insert into fingerprints (track_id, detector, version, checksum, n_segments, n_audible, dimensions, vectors)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (track_id, detector, checksum) do update
set version = excluded.version, n_segments = excluded.n_segments, n_audible = excluded.n_audible,
    dimensions = excluded.dimensions, vectors = excluded.vectors, family_known = false, indexed = 0

-- name: fingerprints_delete
delete from fingerprints where track_id = $1

-- name: fingerprints
select detector, version, checksum, dimensions, n_segments, vectors from fingerprints
where track_id = $1
order by detector, checksum

-- name: fingerprint_audible
update fingerprints set n_audible = $4, family_known = false where track_id = $1 and detector = $2 and checksum = $3

-- name: fingerprint_indexed
update fingerprints set indexed = $4 where track_id = $1 and detector = $2 and checksum = $3

-- name: models
select detector, version, checksum, dimensions, count(*) as n, sum(n_audible)::bigint as vectors from fingerprints
group by detector, version, checksum, dimensions
order by detector, version, checksum

-- name: fingerprints_prune
delete from fingerprints old
where old.detector = $1 and old.checksum <> $2
  and exists (select from fingerprints f where f.track_id = old.track_id and f.detector = $1 and f.checksum = $2)

-- name: tracks_pending
select id from tracks where status = 'pending' order by id

-- name: tracks_retiring
select id from tracks where status = 'retiring' order by id

-- name: tracks_unindexed
select t.id from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready' and f.indexed <> t.revision
order by t.id

-- name: track_by_sha256
select * from known_tracks where audio_sha256 = $1

-- name: track
select * from known_tracks where id = $1

-- name: tracks
select * from known_tracks
where ($1::text is null or strpos(searched, lower($1)) > 0) and ($4::text is null or status = $4)
order by id
limit $2 offset $3

-- name: tracks_heads
select t.id, coalesce(f.n_segments, 0) as n_segments
from tracks t left join fingerprints f on f.track_id = t.id and f.detector = $3 and f.checksum = $4
where t.id >= $1
order by t.id
limit $2

-- name: tracks_after
select * from known_tracks where id > $1 order by id limit $2

-- name: track_delete
delete from tracks where id = $1

-- name: tracks_count
select count(*) from tracks where status = 'ready'

-- name: tracks_by_status
select status, count(*) from tracks group by status

-- name: tracks_other_model
select t.* from known_tracks t
where (t.status in ('pending', 'ready') or ($4 and t.status in ('failed', 'retired')))
  and not exists (
    select from fingerprints f
    where f.track_id = t.id and f.detector = $1 and f.version = $2 and f.checksum = $3
)
order by t.id

-- name: fingerprints_of
select f.track_id, f.vectors, f.n_segments, f.dimensions, f.indexed, k.revision, k.excluded
from fingerprints f join known_tracks k on k.id = f.track_id
where f.track_id = any ($1::bigint[]) and f.detector = $2 and f.checksum = $3
order by f.track_id

-- name: fingerprints_ready
select f.track_id, f.vectors, f.n_segments, f.dimensions, k.excluded
from fingerprints f join known_tracks k on k.id = f.track_id
where f.track_id = any ($1::bigint[]) and f.detector = $2 and f.checksum = $3 and k.status = 'ready'

-- name: tracks_revisions
select id, revision from tracks where id = any ($1::bigint[]) and status = 'ready'

-- name: audible_segments
select coalesce(sum(f.n_audible), 0)
from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready'

-- name: tracks_ready
select t.id from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready'
order by t.id

-- name: tracks_without_known_family
select t.id from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready' and not f.family_known
order by t.id
limit $3

-- name: fingerprint_family_known
update fingerprints set family_known = true where track_id = $1 and detector = $2 and checksum = $3

-- name: family_relation_upsert
insert into family_relations (track_id, member_id, share, speed, part)
select t.id, k.id, $3, $4, $5 from tracks t, tracks k where t.id = $1 and k.id = $2
on conflict (track_id, member_id) do update
set share = excluded.share, speed = excluded.speed, part = excluded.part

-- name: family_relations_delete
delete from family_relations where $1 in (track_id, member_id)

-- name: family_relations
select track_id, member_id, part from family_relations where track_id < member_id order by track_id, member_id

-- name: families
-- Of each track, what family_relations lead to; of these only one on each way may be that of a part (see core/families.py).
with recursive reached (root, track, through_part) as (
    select distinct id, id, false from unnest($1::bigint[]) wanted (id)
    union
    select r.root, k.member_id, r.through_part or k.part
    from reached r join family_relations k on k.track_id = r.track
    where not (r.through_part and k.part)
), members (root, track, place) as (
    select root, track, row_number() over (partition by root order by track)
    from (select distinct root, track from reached where track <> root) others
    join tracks t on t.id = track and t.status = 'ready'
)
select m.root, t.id, t.title, t.artist, t.source
from members m join tracks t on t.id = m.track
where m.place <= $2
order by m.root, m.place

-- name: tracks_named
select id, title, artist, source from tracks where id = any ($1::bigint[]) order by id

-- Streams

-- name: stream_insert
insert into streams (name, url) values ($1, $2) on conflict do nothing returning id

-- name: streams
select s.id, s.name, s.url, s.added_at, p.position, c.state, c.reason
from streams s
left join progress p on p.stream_id = s.id
left join lateral (
    select state, reason from coverage where stream_id = s.id order by starts desc limit 1
) c on true
where s.removed_at is null
order by s.id

-- name: stream_remove
update streams set enabled = false, removed_at = now() where name = $1 and removed_at is null returning id

-- The worker

-- name: progress
select position, log_partition, log_offset, replay_offset, epoch from progress where stream_id = $1

-- name: replay_from
-- A stream that was removed, or has said nothing for long, would have the others read hours again. Long is counted from
-- the newest progress: after an outage of everything, everything is as old.
select min(p.replay_offset)
from progress p join streams s on s.id = p.stream_id
where p.log_partition = $1
  and (s.removed_at is null or s.removed_at > now() - interval '5 minutes')
  and p.updated_at > (select max(updated_at) from progress where log_partition = $1) - interval '5 minutes'

-- name: progress_in
-- Of those streams whose last minute replay_from has in mind.
select p.stream_id, p.position, p.log_partition, p.log_offset, p.replay_offset, p.epoch
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
update progress
set position = $3, log_partition = $4, log_offset = $5, replay_offset = $6, epoch = $7, updated_at = now()
where stream_id = $1 and position = $2
returning stream_id

-- name: stream_exists
select 1 from streams where id = $1

-- name: open_plays
-- Also what a stop of the monitor closed and what may still go on: a restart within $3 samples is no end.
select m.id, m.track_id, m.starts, m.ends, m.track_starts, m.track_ends, m.speed, m.score_sum, m.scored, m.llr,
       m.bridged, m.ambiguous
from matches m left join progress p on p.stream_id = m.stream_id
where m.stream_id = $1 and m.detector = $2 and m.track_id is not null
  and (m.state = 'open' or (m.stopped and m.ends > p.position - $3))
order by m.starts, m.id

-- name: ended_plays
-- What ended behind a stream clock: no other play of the same track may reach back into it.
select m.id, m.track_id, m.starts, m.ends, m.track_starts, m.track_ends, m.speed, m.score_sum, m.scored, m.llr,
       m.bridged, m.ambiguous
from matches m
where m.stream_id = $1 and m.detector = $2 and m.track_id is not null and m.state = 'closed' and not m.stopped and m.ends >= $3
order by m.starts, m.id

-- name: match_upsert
-- A play that is better explained by another track, while it is young, becomes that track's, and so does its alert.
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

-- name: match_close
update matches set state = 'closed', changed_at = now() where id = $1 and state = 'open'

-- name: alert_raise
insert into alerts (match_id, severity, track)
select id, $2, track from matches where id = $1
on conflict (match_id) do nothing

-- name: coverage_extend
update coverage set ends = $4
where (stream_id, starts) = (select stream_id, starts from coverage where stream_id = $1 order by starts desc limit 1)
  and ends = $3 and state = $2 and reason is not distinct from $5
returning starts

-- name: coverage_insert
insert into coverage (stream_id, starts, ends, state, reason) values ($1, $3, $4, $2, $5)

-- name: close_orphans
-- Tells of each where events are told ($1).
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

-- Calibrations

-- name: calibration_insert
insert into calibrations (detector, version, checksum, open_llr, fitted, fitted_low, fitted_high, rate_per_1000_h,
                          sound_s, n_peaks, n_tail, tail_level, mean_excess, n_tracks)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
returning made_at

-- name: calibration
select open_llr, fitted, fitted_low, fitted_high, rate_per_1000_h, sound_s, n_peaks, n_tail, tail_level,
       mean_excess, n_tracks, made_at
from calibrations
where detector = $1 and version = $2 and checksum = $3
order by id desc
limit 1

-- name: calibrations_delete
delete from calibrations where detector = $1 and version = $2 and checksum = $3

-- Reading

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

-- name: coverage
-- The newest of all streams, so that one with many gaps leaves room for the others.
select * from (
    select c.stream_id, s.name as stream_name, c.starts, c.ends, c.state, c.reason
    from coverage c join streams s on s.id = c.stream_id
    where ($1::text is null or s.name = $1) and ($2::bigint is null or c.ends > $2)
    order by c.starts desc, c.stream_id
    limit $3
) newest
order by stream_id, starts desc

-- name: alerts
select a.id, a.match_id, a.severity, a.state, a.track, s.name as stream_name, a.raised_at, m.starts, m.ends
from alerts a join matches m on m.id = a.match_id join streams s on s.id = m.stream_id
where $1::text is null or a.state = $1
order by a.raised_at desc, a.id desc
limit $2

-- Sounds: what streams sound like, and what they resemble

-- name: tracks_without_vectors
select t.* from known_tracks t
where t.status = 'ready' and t.id > $3 and not exists (
    select from fingerprints f where f.track_id = t.id and f.detector = $1 and f.checksum = $2
)
order by t.id
limit $4

-- name: passage_ends
select s.id as stream_id, newest.ends
from unnest($1::bigint[]) as s (id)
cross join lateral (select ends from passages where stream_id = s.id order by starts desc limit 1) newest

-- name: passage_insert
insert into passages (stream_id, starts, ends, kind, music, speech, labels, "similar", version, checksum)
select id, $2, $3, $4, $5, $6, $7, $8, $9, $10 from streams where id = $1
on conflict do nothing
returning starts

-- name: passage_before
select starts, ends, "similar" from passages
where stream_id = $1 and starts < $2 and checksum = $3
order by starts desc
limit 1

-- name: similar_recent
select id, track_id, starts, ends, score_sum, scored from similars
where stream_id = $1 and checksum = $2 and ends >= $3 and track_id is not null
order by starts, id

-- name: similar_upsert
insert into similars (id, stream_id, track_id, track, version, checksum, starts, ends, score_sum, scored)
select $1, $2, t.id, jsonb_build_object('id', t.id, 'title', t.title, 'artist', t.artist, 'album', t.album,
                                        'isrc', t.isrc, 'source', t.source),
       $4, $5, $6, $7, $8, $9
from tracks t where t.id = $3
on conflict (id) do update
set ends = excluded.ends, score_sum = excluded.score_sum, scored = excluded.scored
returning (xmax = 0) as is_new

-- name: similar_explained
-- What a recording that was recognised accounts for, over half of its time, needs nobody's ears.
delete from similars s
where s.review = 'pending' and ($1::bigint is null or s.stream_id = $1) and s.found_at > now() - interval '1 day'
  and (select coalesce(sum(least(m.ends, s.ends) - greatest(m.starts, s.starts)), 0)
       from matches m
       where m.stream_id = s.stream_id and m.starts < s.ends and m.ends > s.starts
         and m.starts > s.starts - 24 * 3600 * 32000::bigint  -- no play lasts longer: not to read all there ever were
      ) * 2 >= s.ends - s.starts

-- name: similars_there
select count(*) from similars where id = any ($1::uuid[])

-- name: similars
select s.id, s.stream_id, st.name as stream_name, s.track, s.version, s.starts, s.ends,
       s.score_sum / s.scored as score, s.review, s.note, s.found_at, s.reviewed_at
from similars s join streams st on st.id = s.stream_id
where ($1::text is null or st.name = $1) and ($2::text is null or s.review = $2)
order by s.starts desc, s.id
limit $3

-- name: similar_review
update similars set review = $2, note = $3, reviewed_at = case when $2 = 'pending' then null else now() end
where id = $1
returning id

-- name: similar
select s.id, s.stream_id, st.name as stream_name, s.track, s.version, s.starts, s.ends,
       s.score_sum / s.scored as score, s.review, s.note, s.found_at, s.reviewed_at
from similars s join streams st on st.id = s.stream_id
where s.id = $1

-- name: passages
select * from (
    select p.stream_id, s.name as stream_name, p.starts, p.ends, p.kind, p.music, p.speech, p.labels
    from passages p join streams s on s.id = p.stream_id
    where ($1::text is null or s.name = $1) and ($2::bigint is null or p.ends > $2)
    order by p.starts desc, p.stream_id
    limit $3
) newest
order by stream_id, starts desc

-- name: sounds_within
-- How many samples of each interval sounded like what.
select i.place, p.kind, sum(least(p.ends, i.ends) - greatest(p.starts, i.starts))::bigint as samples
from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[]) as i (place, stream_id, starts, ends)
join passages p on p.stream_id = i.stream_id and p.starts < i.ends and p.ends > i.starts and p.starts > i.starts - $5
group by i.place, p.kind

-- name: sounds_now
select s.id as stream_id, newest.kind
from unnest($1::bigint[]) as s (id)
cross join lateral (select kind, ends from passages where stream_id = s.id order by starts desc limit 1) newest
where newest.ends > $2

-- name: passages_delete
delete from passages where starts < $1
