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

-- name: passage_ends
select s.id as stream_id, newest.ends
from unnest($1::bigint[]) as s (id)
cross join lateral (select ends from passages where stream_id = s.id order by starts desc limit 1) newest

-- name: passages
select * from (
    select p.stream_id, s.name as stream_name, p.starts, p.ends, p.kind, p.music, p.speech, p.labels
    from passages p join streams s on s.id = p.stream_id
    where ($1::text is null or s.name = $1) and ($2::bigint is null or p.ends > $2)
    order by p.starts desc, p.stream_id
    limit $3
) newest
order by stream_id, starts desc

-- name: passages_delete
delete from passages where starts < $1

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

-- name: similar_delete_explained
-- A similar match needs no review if matches cover at least half of it.
delete from similars s
where s.review = 'pending' and ($1::bigint is null or s.stream_id = $1) and s.found_at > now() - interval '1 day'
  and (select coalesce(sum(least(m.ends, s.ends) - greatest(m.starts, s.starts)), 0)
       from matches m
       where m.stream_id = s.stream_id and m.starts < s.ends and m.ends > s.starts
         and m.starts > s.starts - 24 * 3600 * 32000::bigint  -- no play lasts longer; this bounds the scan
      ) * 2 >= s.ends - s.starts

-- name: similar_count
select count(*) from similars where id = any ($1::uuid[])

-- name: similar_list
select s.id, s.stream_id, st.name as stream_name, s.track, s.version, s.starts, s.ends,
       s.score_sum / s.scored as score, s.review, s.note, s.found_at, s.reviewed_at
from similars s join streams st on st.id = s.stream_id
where ($1::text is null or st.name = $1) and ($2::text is null or s.review = $2)
order by s.starts desc, s.id
limit $3

-- name: similar
select s.id, s.stream_id, st.name as stream_name, s.track, s.version, s.starts, s.ends,
       s.score_sum / s.scored as score, s.review, s.note, s.found_at, s.reviewed_at
from similars s join streams st on st.id = s.stream_id
where s.id = $1

-- name: similar_review
update similars set review = $2, note = $3, reviewed_at = case when $2 = 'pending' then null else now() end
where id = $1
returning id

-- name: sounds_within
-- The number of samples of each kind of sound in each interval.
select i.place, p.kind, sum(least(p.ends, i.ends) - greatest(p.starts, i.starts))::bigint as samples
from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[]) as i (place, stream_id, starts, ends)
join passages p on p.stream_id = i.stream_id and p.starts < i.ends and p.ends > i.starts and p.starts > i.starts - $5
group by i.place, p.kind

-- name: sounds_latest
select s.id as stream_id, newest.kind
from unnest($1::bigint[]) as s (id)
cross join lateral (select kind, ends from passages where stream_id = s.id order by starts desc limit 1) newest
where newest.ends > $2
