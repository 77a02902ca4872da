"""Looks up every window of recordings with audfprint. Runs in its environment and without Airtrace.

Usage: audfprint_windows.py CHECKOUT TABLE RECORDINGS ANSWERS MOST WINDOW_S HOP_S OPTION..
Writes one line of JSON per window: [recording, end of the window in s, [[reference, start and end in s, position in the
reference in s, count of hashes], ..]]. A recording's hashes are computed once, and windows are cut from them.
"""

import json
import sys
from pathlib import Path

checkout, table, recordings, answers, maximum, window_s, hop_s, *match = sys.argv[1:]
sys.path.insert(0, checkout)

import audfprint  # noqa: E402
import audfprint_match  # noqa: E402
import docopt  # noqa: E402
import hash_table  # noqa: E402

options = docopt.docopt(audfprint.USAGE, ["match", *match, "--find-time-range"])
analyzer = audfprint.setup_analyzer(options)  # 4 shifts, its default for queries
matcher: audfprint_match.Matcher = audfprint.setup_matcher(options)
matcher.max_alignments_per_id = 1  # 2: a track that plays twice in a window
matcher.verbose = 0
known = hash_table.HashTable(table)
frame_s = analyzer.n_hop / analyzer.target_sr
window, hop = round(float(window_s) / frame_s), round(float(hop_s) / frame_s)

with Path(answers).open("w") as out:
    for recording in Path(recordings).read_text().splitlines():
        hashes = analyzer.wavfile2hashes(recording)
        last = int(hashes[-1, 0]) if len(hashes) else 0
        for start in range(0, max(1, last - window + hop), hop):
            inside = hashes[(hashes[:, 0] >= start) & (hashes[:, 0] < start + window)] if len(hashes) else []
            hits = matcher.match_hashes(known, inside)[: int(maximum)] if len(inside) else []
            rows = [
                (known.names[track], int(first) * frame_s, int(end) * frame_s, int(first + skew) * frame_s, int(count))
                for track, count, skew, _, _, first, end in hits
            ]
            out.write(json.dumps([recording, min(start + window, last) * frame_s, rows]) + "\n")
