"""`airtrace topics`: create, check. Exit codes: 0 success, 3 a limit would lose windows, 4 no broker is reachable."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ingest.bus import kafka_topics
from ingest.bus.kafka_client import addresses
from ingest.bus.kafka_limits import HOUR_MS, Topic, TopicState
from ingest.bus.kafka_topics import Survey
from monitor.alerts.kafka import events_topic
from monitor.commands import output
from monitor.errors import SettingsError
from monitor.settings import Settings

UNFIT = 3


async def create(settings: Settings, *, as_json: bool) -> int:
    """Creates the missing topics and prints the state of all."""
    _needs_brokers(settings)
    made = await kafka_topics.create_missing(settings.kafka, settings.ingest.window_s, [events_topic(settings.kafka)])
    return await _report(settings, made, as_json=as_json)


async def check(settings: Settings, *, as_json: bool) -> int:
    """Prints the state of all topics."""
    _needs_brokers(settings)
    return await _report(settings, [], as_json=as_json)


async def _report(settings: Settings, made: list[str], *, as_json: bool) -> int:
    survey = await kafka_topics.survey(settings.kafka, settings.ingest.window_s, [events_topic(settings.kafka)])
    if as_json:
        output.as_json(_shape(settings, survey, made))
    else:
        _print(survey, made)
    return UNFIT if survey.problems else 0


def _print(survey: Survey, made: list[str]) -> None:
    columns = ("topic", "partitions", "replicas", "retention", "largest record", "compression", "")
    rows = [_row(topic, survey.found[topic.name], made) for topic in survey.wanted]
    output.table(columns, rows, "")
    for problem in survey.problems:
        output.print_status(f"airtrace: {problem if problem.loses_data else f'differs: {problem}'}")


def _row(topic: Topic, found: TopicState | None, made: list[str]) -> tuple[object, ...]:
    if found is None:
        return (topic.name, *5 * ("",), "missing")
    config = found.config
    retention = _retention(config.get("retention.ms"))
    facts = (retention, config.get("max.message.bytes"), config.get("compression.type"))
    return (topic.name, found.partitions, found.replicas, *facts, "created" if topic.name in made else "exists")


def _retention(milliseconds: str | None) -> str:
    if milliseconds is None:
        return ""
    return "unlimited" if int(milliseconds) < 0 else f"{int(milliseconds) / HOUR_MS:g} h"


def _shape(settings: Settings, survey: Survey, made: list[str]) -> dict[str, Any]:
    wanted = [
        {
            "name": topic.name,
            "created": topic.name in made,
            "wanted": {"partitions": topic.partitions, **topic.config},
            "found": _found_shape(survey.found[topic.name], topic),
        }
        for topic in survey.wanted
    ]
    problems = [asdict(problem) for problem in survey.problems]
    return {"brokers": addresses(settings.kafka), "topics": wanted, "problems": problems}


def _found_shape(found: TopicState | None, topic: Topic) -> dict[str, Any] | None:
    if found is None:
        return None
    config = {name: found.config.get(name) for name in topic.config}
    return {"partitions": found.partitions, "replicas": found.replicas, "leaderless": found.leaderless, **config}


def _needs_brokers(settings: Settings) -> None:
    if not settings.kafka.bootstrap:
        raise SettingsError("`airtrace topics` needs AIRTRACE_KAFKA__BOOTSTRAP (`airtrace run` needs no topics)")
