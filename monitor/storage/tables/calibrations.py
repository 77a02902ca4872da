"""The table of calibrations: thresholds that were set from audio without catalog tracks."""

from __future__ import annotations

from dataclasses import astuple, replace

from monitor.detect.detector import DetectorInfo
from monitor.storage.database import Database
from monitor.storage.records import Calibration


class CalibrationTable:
    """The calibrations of each model. The newest one counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, calibration: Calibration, info: DetectorInfo) -> Calibration:
        """Stores a calibration of a model, which becomes its newest; returns it with its time."""
        values = astuple(replace(calibration, made_at=None))[:-1]
        made_at = await self._database.fetchval("calibration_insert", info.name, info.version, info.checksum, *values)
        return replace(calibration, made_at=made_at)

    async def newest(self, info: DetectorInfo) -> Calibration | None:
        """The newest calibration of a model."""
        row = await self._database.fetchrow("calibration_newest", info.name, info.version, info.checksum)
        return Calibration(**row) if row else None

    async def delete(self, info: DetectorInfo) -> None:
        """Deletes all calibrations of a model."""
        await self._database.execute("calibrations_delete", info.name, info.version, info.checksum)
