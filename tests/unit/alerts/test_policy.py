"""Every detector's matches have a severity that the database accepts."""

from monitor.alerts.policy import SEVERITIES, severity


def test_a_recognized_recording_is_more_urgent_than_a_similar_one() -> None:
    assert severity("fingerprint") == "warning"
    assert severity("panns") == "info"


def test_severities_are_those_of_the_database() -> None:
    assert set(SEVERITIES.values()) <= {"info", "warning", "critical"}
