"""The root of every configuration: frozen, strict, and closed to unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Plain data with defaults. An unknown key or a wrong type is an error, never a guess."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
