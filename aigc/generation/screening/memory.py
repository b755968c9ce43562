"""What a model was trained on, to say which of its samples copy it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from aigc.errors import ArtifactCorrupt
from aigc.generation.screening.image_memory import ImageMemory
from aigc.generation.screening.nearest import Nearest
from aigc.generation.screening.text_memory import TextMemory
from aigc.layout import Layout
from aigc.training.tensors import read_tensors, write_tensors

FORMAT = 4
"""Of what is written. Another one's frames and limits are of other comparisons: it is to be made
anew."""

MEMORIES: dict[str, type[ImageMemory] | type[TextMemory]] = {
    "image": ImageMemory,
    "text": TextMemory,
}


@dataclass(frozen=True)
class Memory:
    """The training records of one layout, and from when on a sample is called a copy."""

    layout: Layout
    records: ImageMemory | TextMemory

    @classmethod
    def of(cls, stored_training: Tensor, layout: Layout) -> Memory:
        """Of stored records (N, *shape), at least two.

        The limits are set so that of the training records themselves, each compared with all the
        others, hardly any would be accused.
        """
        return cls(layout, MEMORIES[layout.modality].of(stored_training))

    def save(self, folder: Path) -> str:
        """Write `folder` anew; returns its digest. Raises WorkspaceUnwritable."""
        plain = {"format": FORMAT, "layout": self.layout.model_dump(mode="json")}
        return write_tensors(folder, self.records.tensors(), plain | self.records.plain())

    @classmethod
    def load(cls, folder: Path) -> Memory:
        """The memory in `folder`, after checking its hashes. Raises ArtifactCorrupt."""
        tensors, plain, _ = read_tensors(folder)
        try:
            if plain["format"] != FORMAT:
                raise TypeError(f"its format is {plain['format']!r}, not {FORMAT}")
            layout = Layout.model_validate(plain["layout"], strict=False)
            return cls(layout, MEMORIES[layout.modality].restored(tensors, plain))
        except (ValidationError, KeyError, TypeError) as error:
            raise ArtifactCorrupt(
                f"{folder} was written by another version of this program: {error}",
                "Remove it: it is made anew from the training data",
            ) from error

    def nearest(self, stored: Tensor) -> Nearest:
        """The nearest training record of each sample (N, *shape), and whether it is a copy.

        What is said of a sample does not depend on those beside it.
        """
        return self.records.nearest(stored)


def copied_spans(text: str, memory: Memory) -> list[tuple[int, int]]:
    """Where a text stands verbatim in a training record, as characters (start, stop), in order.

    Spans of less than 32 bytes are left out, and those that overlap are one. Of images there are
    none.
    """
    return memory.records.spans(text)
