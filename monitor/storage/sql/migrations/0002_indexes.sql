-- Without these, deleting a track, and each view of the live page, reads every match ever stored.

create index matches_track on matches (track_id);
create index matches_starts on matches (starts desc, id);
create index coverage_starts on coverage (starts desc, stream_id);
