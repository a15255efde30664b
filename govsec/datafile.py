"""What every table under ``policies/`` is made of: words in both languages, and how far a figure can be trusted."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from govsec.config import Model


class FigureStatus(StrEnum):
    """How far a figure of a table can be trusted."""

    #: Compared with the text of the norm, or over transcriptions that agree.
    CONFIRMED = "confirmed"
    #: From a guide, a letter, a published table or several tools that agree.
    SECONDARY = "secondary"
    UNCONFIRMED = "unconfirmed"
    #: The norm names no figure; this one is practice, or ours.
    INTERPRETATION = "interpretation"
    DRAFT = "draft"


class Text(Model):
    """Words in both languages."""

    zh: str = Field(min_length=1, max_length=2000)
    en: str = Field(min_length=1, max_length=2000)
