"""Queries audfprint. Runs in its environment, with its sources on the path and without Airtrace.

Usage: audfprint_driver.py CHECKOUT TABLE QUERIES ANSWERS MOST OPTION..
Writes one line of JSON per query: [[name of the reference, seconds, count of hashes], ..], best first.
"""

import json
import sys
from pathlib import Path

checkout, table, queries, answers, maximum, *match = sys.argv[1:]
sys.path.insert(0, checkout)

import audfprint  # noqa: E402
import audfprint_match  # noqa: E402
import docopt  # noqa: E402
import hash_table  # noqa: E402

options = docopt.docopt(audfprint.USAGE, ["match", *match, "--min-count", "1"])
analyzer = audfprint.setup_analyzer(options)  # 4 shifts, its default for queries
matcher: audfprint_match.Matcher = audfprint.setup_matcher(options)
matcher.max_alignments_per_id = 0  # only the best alignment per reference; with a low count, others take seconds
matcher.verbose = 0
known = hash_table.HashTable(table)
hop_s = analyzer.n_hop / analyzer.target_sr

with Path(answers).open("w") as out:
    for query in Path(queries).read_text().splitlines():
        hashes = analyzer.wavfile2hashes(query)
        hits = matcher.match_hashes(known, hashes)[: int(maximum)] if len(hashes) else []
        rows = [(known.names[track], int(skew) * hop_s, int(count)) for track, count, skew, *_ in hits]
        out.write(json.dumps(rows) + "\n")
