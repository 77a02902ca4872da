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

-- name: fingerprints_prune
delete from fingerprints old
where old.detector = $1 and old.checksum <> $2
  and exists (select from fingerprints f where f.track_id = old.track_id and f.detector = $1 and f.checksum = $2)

-- name: fingerprints_of
select f.track_id, f.vectors, f.n_segments, f.dimensions, f.indexed, k.revision, k.excluded
from fingerprints f join known_tracks k on k.id = f.track_id
where f.track_id = any ($1::bigint[]) and f.detector = $2 and f.checksum = $3
order by f.track_id

-- name: fingerprints_ready
select f.track_id, f.vectors, f.n_segments, f.dimensions, k.excluded
from fingerprints f join known_tracks k on k.id = f.track_id
where f.track_id = any ($1::bigint[]) and f.detector = $2 and f.checksum = $3 and k.status = 'ready'

-- name: models
select detector, version, checksum, dimensions, count(*) as n, sum(n_audible)::bigint as vectors from fingerprints
group by detector, version, checksum, dimensions
order by detector, version, checksum

-- name: vectors_indexable
select coalesce(sum(f.n_audible), 0)
from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready'

-- name: segment_counts
select t.id, coalesce(f.n_segments, 0) as n_segments
from tracks t left join fingerprints f on f.track_id = t.id and f.detector = $3 and f.checksum = $4
where t.id >= $1
order by t.id
limit $2

-- name: tracks_ready
select t.id from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready'
order by t.id

-- name: tracks_unindexed
select t.id from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready' and f.indexed <> t.revision
order by t.id

-- name: tracks_without_vectors
select t.* from known_tracks t
where t.status = 'ready' and t.id > $3 and not exists (
    select from fingerprints f where f.track_id = t.id and f.detector = $1 and f.checksum = $2
)
order by t.id
limit $4

-- name: tracks_other_model
select t.* from known_tracks t
where (t.status in ('pending', 'ready') or ($4 and t.status in ('failed', 'retired')))
  and not exists (
    select from fingerprints f
    where f.track_id = t.id and f.detector = $1 and f.version = $2 and f.checksum = $3
)
order by t.id

-- name: searchable_tracks
-- The tracks that can be found with a model, and the revision of each.
select t.id, t.revision
from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready'
order by t.id

-- name: searchable_state
-- Changes with every change of searchable_tracks; cheap enough to ask for every few seconds.
select count(*) || '/' || coalesce(sum(hashint8extended(t.id, t.revision)), 0)
from fingerprints f join tracks t on t.id = f.track_id
where f.detector = $1 and f.checksum = $2 and t.status = 'ready'
