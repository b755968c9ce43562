"""The page that says whether a generated dataset is any good, why, and where it came from."""

from jobs.report.page import ModelOrigin, Report, ShardEntry, Sheet, TrainingData, write_report

__all__ = ["ModelOrigin", "Report", "ShardEntry", "Sheet", "TrainingData", "write_report"]
