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

-- name: track_increment_revision
update tracks set revision = revision + 1 where id = $1

-- name: track_unfail
update tracks set status = 'pending', error = null where id = $1 and status = 'failed'

-- name: track_set_status
update tracks set status = $2, error = $3 where id = $1 returning id

-- name: track_indexed
update tracks set status = 'ready' where id = $1 and status = 'pending'

-- name: track_excluded
select excluded from known_tracks where id = $1

-- name: track_id_by_audio_hash
select id from tracks where audio_sha256 = $1

-- name: track
select * from known_tracks where id = $1

-- name: track_by_audio_hash
select * from known_tracks where audio_sha256 = $1

-- name: track_by_file_hash
select k.* from known_tracks k join files f on f.track_id = k.id where f.sha256 = $1

-- name: tracks
select * from known_tracks
where ($1::text is null or strpos(searched, lower($1)) > 0) and ($4::text is null or status = $4)
order by id
limit $2 offset $3

-- name: tracks_after
select * from known_tracks where id > $1 order by id limit $2

-- name: tracks_count
select count(*) from tracks where status = 'ready'

-- name: tracks_by_status
select status, count(*) from tracks group by status

-- name: tracks_pending
select id from tracks where status = 'pending' order by id

-- name: tracks_retiring
select id from tracks where status = 'retiring' order by id

-- name: tracks_revisions
select id, revision from tracks where id = any ($1::bigint[]) and status = 'ready'

-- name: track_delete
delete from tracks where id = $1

-- name: exclusions_delete
delete from exclusions where track_id = $1

-- name: exclusion_insert
insert into exclusions (track_id, starts, ends, note) values ($1, $2, $3, $4)

-- name: files_delete
delete from files where track_id = $1

-- name: file_insert
insert into files (sha256, track_id) select $1, id from tracks where id = $2
on conflict (sha256) do update set track_id = excluded.track_id
