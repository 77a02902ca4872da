-- Thresholds that were set by unknown audio (core/calibration.py), for the weights that analyzed it; the newest counts.

create table calibrations (
    id              bigint generated always as identity primary key,
    detector        text not null,
    version         text not null,
    checksum        text not null,
    open_evidence   double precision not null check (open_evidence > 0),  -- what a play needs from then on
    fitted          double precision not null,  -- what the tail says: less where open_evidence is the least allowed
    fitted_low      double precision not null,  -- its 95 % interval
    fitted_high     double precision not null,
    rate_per_1000_h double precision not null check (rate_per_1000_h > 0),
    sound_s         double precision not null check (sound_s > 0),
    n_peaks         integer not null check (n_peaks >= n_tail),
    n_tail          integer not null check (n_tail > 0),
    tail_level      double precision not null,
    mean_excess     double precision not null check (mean_excess > 0),
    n_tracks        bigint not null check (n_tracks >= 0),  -- of the catalog then
    made_at         timestamptz not null default now(),
    check (fitted between fitted_low and fitted_high)
);
create index calibrations_newest on calibrations (detector, version, checksum, id desc);
