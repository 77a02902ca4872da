-- name: calibration_insert
insert into calibrations (detector, version, checksum, open_llr, fitted, fitted_low, fitted_high, rate_per_1000_h,
                          sound_s, n_peaks, n_tail, tail_level, mean_excess, n_tracks)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
returning made_at

-- name: calibration_newest
select open_llr, fitted, fitted_low, fitted_high, rate_per_1000_h, sound_s, n_peaks, n_tail, tail_level,
       mean_excess, n_tracks, made_at
from calibrations
where detector = $1 and version = $2 and checksum = $3
order by id desc
limit 1

-- name: calibrations_delete
delete from calibrations where detector = $1 and version = $2 and checksum = $3
