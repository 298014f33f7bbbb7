"""Shapes of what is said of versions and their trials."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class TrialInfo(BaseModel):
    """A version on trial: on real traffic, unseen or for a share of the clients, before it serves."""

    version: int
    champion: int = Field(description="the version that it is held against")
    job_id: str | None
    stage: str = Field(description="shadow or canary; when it is over promoted, rejected or abandoned")
    meaning: str
    share: float = Field(description="of the clients that it answers")
    started_at: float
    stage_at: float
    ended_at: float | None
    reason: str
    evidence: dict[str, Any] = Field(description="what the monitor saw last")


class VersionInfo(BaseModel):
    """One version and why it exists."""

    model: str
    version: int
    state: str
    reason: str
    digest: str | None
    parent: int | None
    job_id: str | None
    created_at: float
    aliases: list[str]
    gate: dict[str, Any] | None = None
    manifest: dict[str, Any] | None = None
    trial: TrialInfo | None = Field(None, description="how it was tried, if it was")


class VersionList(BaseModel):
    """Every version of a model."""

    model: str
    generation: int
    aliases: dict[str, int]
    versions: list[VersionInfo]
    trial: TrialInfo | None = Field(None, description="the one that goes on, if any")
