"""What matches and intervals of coverage sounded like, from the passages that PANNs tagged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect import audioset
from monitor.storage import records
from monitor.storage.tables import sounds

MAX_SAMPLES = 24 * 3600 * SAMPLE_RATE_HZ  # coverage can last for months, at 8,640 passages per day


class IntervalSound(BaseModel):
    """What an interval of a stream sounded like in its last 24 hours, according to PANNs."""

    kind: audioset.Kind = Field(description="The most frequent kind.")
    analyzed_s: float = Field(description="Seconds of the interval that PANNs analyzed.")
    shares: dict[str, float] = Field(description="Share of the analyzed seconds by kind.")

    @classmethod
    def of(cls, samples: Mapping[audioset.Kind, int]) -> IntervalSound:
        """From the number of samples of each kind."""
        analyzed = sum(samples.values())
        return cls(
            kind=max(samples, key=lambda kind: (samples[kind], kind)),
            analyzed_s=round(analyzed / SAMPLE_RATE_HZ, 3),
            shares={kind: round(number / analyzed, 3) for kind, number in sorted(samples.items())},
        )


OptionalSound = Annotated[
    IntervalSound | None, Field(description="What it sounded like; null if PANNs did not analyze it.")
]


async def sounds_of(
    table: sounds.SoundTable, found: Sequence[records.Match | records.Coverage]
) -> list[IntervalSound | None]:
    """What each interval sounded like, a long one at its end; None if PANNs did not analyze it."""
    intervals = [
        sounds.StreamInterval(each.stream_id, max(each.starts, each.ends - MAX_SAMPLES), each.ends) for each in found
    ]
    return [IntervalSound.of(samples) if samples else None for samples in await table.within(intervals)]
