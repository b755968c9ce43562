"""A registered model as MLflow serves it, for those who want that; nothing of ours loads one so.

Models from code: what MLflow runs is the small text CODE, which imports this module, and this
module loads the arrays with our own reader. Nothing is pickled.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import ColSpec, Schema, TensorSpec

from aigc import __version__
from aigc.generation.plan import classes_of, sample_seeds
from aigc.generation.sampling import make_samples
from aigc.layout import Layout
from aigc.models.artifact import load_model

EXAMPLE = {"count": 16, "seed": 7}
SERVED = "served.py"
CODE = """\
# What MLflow runs to serve the model in this folder. It needs aigc-factory, and unpickles nothing.
from mlflow.models import set_model

from cluster.serving import ServedModel

set_model(ServedModel())
"""
_ARTIFACT = "model"


class ServedModel(PythonModel):
    """Answers {"count": 16, "seed": 7} with the samples 0 to 15 of a generation with seed 7."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model beside MLmodel. Raises ArtifactCorrupt."""
        self._model = load_model(Path(context.artifacts[_ARTIFACT])).model

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray[Any, Any]:
        """Stored samples, (count, *shape); of several rows one after the other.

        Raises ValueError for a count below 1.
        """
        rows = zip(model_input["count"].tolist(), model_input["seed"].tolist(), strict=True)
        return np.concatenate([self._samples(count, seed) for count, seed in rows])

    def _samples(self, count: int, seed: int) -> np.ndarray[Any, Any]:
        if count < 1:
            raise ValueError(f"count must be at least 1 (got {count})")
        model = self._model
        asked = range(count)
        made = make_samples(
            model, asked, sample_seeds(seed, asked), classes_of(asked, model.layout)
        )
        stored: np.ndarray[Any, Any] = made.stored.numpy()
        return stored


def signature(layout: Layout) -> ModelSignature:
    """What the served model takes and gives."""
    asked = Schema([ColSpec("long", name) for name in EXAMPLE])
    made = TensorSpec(np.dtype(np.uint8), (-1, *layout.shape))
    return ModelSignature(inputs=asked, outputs=Schema([made]))


def write_served(folder: Path, layout: Layout) -> None:
    """Write MLmodel, the code, the input example and the requirements into `folder`, which MLflow
    gets beside the arrays."""
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        code = Path(temporary) / SERVED
        code.write_text(CODE)
        made = Path(temporary) / "made"
        mlflow.pyfunc.save_model(
            path=made,
            python_model=str(code),
            signature=signature(layout),
            input_example=EXAMPLE,
            pip_requirements=[f"aigc-factory=={__version__}"],
        )
        _place(made)
        shutil.copytree(made, folder, dirs_exist_ok=True)


def _place(folder: Path) -> None:
    """Make the folder itself an artifact, of which save_model would have made a copy, and name the
    code as it lies there and not as on the machine that wrote it."""
    described = Model.load(str(folder))
    flavor = described.flavors[mlflow.pyfunc.FLAVOR_NAME]
    flavor["artifacts"] = {_ARTIFACT: {"path": ".", "uri": "."}}
    flavor["model_code_path"] = SERVED
    described.save(str(folder / "MLmodel"))
