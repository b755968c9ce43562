"""Write a source in a library's format: `python -m streams.write MODULE SOURCE FOLDER`."""

from __future__ import annotations

import importlib
import shutil
import sys
import warnings
from pathlib import Path

from streams.sources import opened

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    module, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    # Under another name first, so that an interrupted run leaves nothing that looks whole.
    partial = folder.with_name(f"{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    importlib.import_module(f"streams.{module}").write(opened(source), partial)
    partial.rename(folder)
