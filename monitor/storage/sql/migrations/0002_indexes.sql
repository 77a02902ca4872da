-- Without these a deletion of a track, and each look at the live page, reads every match there ever was.

create index matches_track on matches (track_id);
create index matches_starts on matches (starts desc, id);
create index coverage_starts on coverage (starts desc, stream_id);
