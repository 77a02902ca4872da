"""Alerts: the matches that need attention."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from monitor.api.alerts import schemas
from monitor.api.dependencies import App, Limit

router = APIRouter(prefix="/alerts", tags=["alerts"])


@router.get("", summary="List alerts")
async def list_alerts(
    airtrace: App,
    state: Literal["open", "acknowledged", "resolved", "dismissed"] | None = None,
    limit: Limit = 100,
) -> list[schemas.Alert]:
    """Lists alerts, newest first."""
    found = await airtrace.storage.alerts.list(state, limit)
    families = await airtrace.storage.families.members_of({alert.track_id for alert in found})
    return [schemas.Alert.of(alert, families) for alert in found]
