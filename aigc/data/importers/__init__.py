"""Importers: from somebody's files to a published dataset.

To add one: a module with a class that keeps `contract.Importer`, and a line in `table.IMPORTERS`.

    conversion.py    each part of the source → stored records and rejected ones
    selection.py     all of them, in one place → what becomes of each
    publication.py   each shard, and the quarantine of each part, is written

The first and the last run through a `map` that is handed in, in this process or on a cluster, and
what they make depends on their input alone: both give the same bytes.
"""

from aigc.data.importers.contract import Options
from aigc.data.importers.importing import Import, import_dataset, plan_import, run_import
from aigc.data.importers.splits import Shares

__all__ = ["Import", "Options", "Shares", "import_dataset", "plan_import", "run_import"]
