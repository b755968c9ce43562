"""The page that says whether a generated dataset is any good, why, and where it came from."""

from jobs.report.content import (
    Copying,
    Funnel,
    Incident,
    Labelling,
    ModelOrigin,
    Night,
    Pair,
    Passage,
    Picture,
    Rejected,
    Report,
    ShardEntry,
    Sheet,
    TrainingData,
)
from jobs.report.history import history
from jobs.report.index import write_index
from jobs.report.page import write_report
from jobs.report.pictures import contact_sheet, extremes, shown

__all__ = [
    "Copying",
    "Funnel",
    "Incident",
    "Labelling",
    "ModelOrigin",
    "Night",
    "Pair",
    "Passage",
    "Picture",
    "Rejected",
    "Report",
    "ShardEntry",
    "Sheet",
    "TrainingData",
    "contact_sheet",
    "extremes",
    "history",
    "shown",
    "write_index",
    "write_report",
]
