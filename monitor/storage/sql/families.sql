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

-- name: family_members
-- The tracks that each root reaches over relations, of which at most one on a path is a part (see core/families.py).
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

-- name: tracks_by_id
select id, title, artist, source from tracks where id = any ($1::bigint[]) order by id
