"""The report of an evaluation, as text and as JSON."""

from __future__ import annotations

import orjson

from monitor.evaluation.report import as_json, as_text
from monitor.evaluation.score import score
from tests.unit.evaluation.rows import RECORDINGS, play, result

TRUTH = [play(0, 20, kind="clear"), play(50, 80, kind="bed", snr_db=-8), play(100, 104, "y.ogg", kind="clear")]
FOUND = [
    result(1, 20, at_s=1, reported_s=4),
    result(50, 70, reported_s=57),
    result(300, 330, "z.ogg"),
    result(5, 15, recording="b.wav"),
]


def test_the_text_has_a_table_and_further_lines() -> None:
    assert as_text(score(TRUTH, FOUND, RECORDINGS)).splitlines() == [
        "3 recordings, 3.50 h  plays  found   share  precision  recall      F1  right s  wrong s  missed s",
        "all                       3      2  0.6666     0.4936  0.7222  0.5864     39.0     40.0      15.0",
        "of 5 s or more            2      2  1.0000     1.0000  0.7800  0.8764     39.0      0.0      11.0",
        "kind bed                  1      1  1.0000     1.0000  0.6666  0.8000     20.0      0.0      10.0",
        "kind clear                2      1  0.5000     1.0000  0.7916  0.8837     19.0      0.0       5.0",
        "snr clear                 2      1  0.5000             0.7916             19.0                5.0",
        "snr -6 to -12 dB          1      1  1.0000             0.6666             20.0               10.0",
        "reports per found play: 1.000",
        "start error: median 0.50 s, 95 % within 0.95 s, bias +0.50 s (n = 2)",
        "end error: median 5.00 s, 95 % within 9.50 s, bias -5.00 s (n = 2)",
        "position error: median 0.00 s, 95 % within 0.00 s, bias +0.00 s (n = 2)",
        "first report in the clear: median 4.00 s, 95 % within 4.00 s (n = 1)",
        "first report under something: median 7.00 s, 95 % within 7.00 s (n = 1)",
        "false plays: 2 of 4 results, 40.0 s",
        "recordings without any play: 1 false plays in 2.50 h, 0.400 per hour",
    ]


def test_only_a_full_share_is_shown_as_one() -> None:
    text = as_text(score([play(0, 1000)], [result(0, 999.99)], RECORDINGS))
    assert "0.9999" in text.splitlines()[1]
    assert as_text(score([play(0, 57)], [result(0, 100)], RECORDINGS)).splitlines()[1].split()[4] == "0.5700"


def test_undefined_values_are_shown_as_dashes() -> None:
    lines = as_text(score([play(0, 20)], [], {"a.wav": 60.0})).splitlines()
    assert lines[1].split() == ["all", "1", "0", "0.0000", "-", "0.0000", "0.0000", "0.0", "0.0", "20.0"]
    assert "reports per found play: -" in lines
    assert "start error: -" in lines
    assert not any(line.startswith(("first report", "recordings without")) for line in lines)


def test_the_json_has_every_value_and_lists_errors() -> None:
    values = orjson.loads(orjson.dumps(as_json(score(TRUTH, FOUND, RECORDINGS))))
    assert values["all"] == {
        "name": "all",
        "plays": 3,
        "found": 2,
        "tp_s": 39.0,
        "fp_s": 40.0,
        "fn_s": 15.0,
        "precision": 39 / 79,
        "recall": 39 / 54,
        "f1": 78 / 133,
    }
    assert [row["name"] for row in values["kinds"]] == ["bed", "clear"]
    assert values["bands"][1] == {
        "name": "-6 to -12 dB",
        "plays": 1,
        "found": 1,
        "tp_s": 20.0,
        "fn_s": 10.0,
        "recall": 20 / 30,
    }
    assert [(row["track"], row["start_s"]) for row in values["missed"]] == [("y.ogg", 100)]
    assert [row["track"] for row in values["false_plays"]] == ["z.ogg", "x.ogg"]
    assert values["start"] == {"n": 2, "median_s": 0.5, "p95_s": 0.95, "bias_s": 0.5}
    assert values["latency_clear"]["median_s"] == 4
    assert values["false_plays_per_hour"] == 0.4
