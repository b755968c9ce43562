"""A small convolutional classifier: the judge whose features the image metrics are taken from.

After LeNet-5 (LeCun et al. 1998): two 5×5 convolutions with pooling, and two dense layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from aigc.config import Config
from aigc.errors import ModelError
from aigc.layout import Layout
from aigc.models.contract import Batch, Losses, Model, OptimizerConfig, Phase
from aigc.models.layers import image_shape
from aigc.seeding import Draws


class ClassifierConfig(Config):
    """Channels of the first convolution, half those of the second; size of the features."""

    family: Literal["classifier"] = "classifier"
    width: int = Field(le=1024, default=8, ge=1)
    feature_size: int = Field(le=4096, default=64, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-3, weight_decay=1e-2)


def shifted(images: Tensor, draws: Draws) -> Tensor:
    """Each image moved by at most one pixel each way, its border repeated: (B, C, H, W)."""
    rows, _, height, width = images.shape
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right = draws.integers(rows, 3), draws.integers(rows, 3)
    return windows[torch.arange(rows), :, down, right]


class Pool(nn.Module):
    """The largest of every 2 × 2 values: (B, C, H, W) to (B, C, H // 2, W // 2)."""

    def forward(self, images: Tensor) -> Tensor:
        """The same values either way; `max_pool2d` gives ties the gradients they always had."""
        if torch.is_grad_enabled():
            return functional.max_pool2d(images, 2)
        # A ninth of its time on a CPU, which was most of what an extractor costs.
        height, width = (size // 2 * 2 for size in images.shape[2:])
        rows = torch.maximum(images[:, :, :height:2], images[:, :, 1:height:2])
        return torch.maximum(rows[..., :width:2], rows[..., 1:width:2])


class Classifier(Model):
    """Images to class logits through a layer of `feature_size` features; makes no samples."""

    def __init__(self, config: ClassifierConfig, layout: Layout) -> None:
        super().__init__(layout)
        if layout.classes == 0:
            raise ModelError(
                "A classifier needs labels and this dataset has none", "Name a dataset with labels"
            )
        self.config = config
        self.feature_size = config.feature_size
        channels, height, breadth = image_shape(layout)
        # Pooled first, a fourth of the values is left to compare with 0: no bit becomes another.
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, config.width, 5, padding=2),
            Pool(),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.width, 2 * config.width, 5, padding=2),
            Pool(),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        pooled_size = 2 * config.width * (height // 4) * (breadth // 4)
        self.hidden = nn.Linear(pooled_size, config.feature_size)
        self.head = nn.Linear(config.feature_size, layout.classes)

    def features(self, records: Tensor) -> Tensor:
        """The penultimate activations, (B, feature_size), float32, not negative."""
        return functional.relu(self.hidden(self.convolutions(records)))

    def logits(self, records: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the classes, (B, classes)."""
        logits: Tensor = self.head(self.features(records))
        return logits

    def phases(self) -> Sequence[Phase]:
        return [Phase("classifier", list(self.parameters()), self._loss, self.config.optimizer)]

    def _loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        if batch.labels is None:
            raise ModelError("A classifier needs labels and this batch has none")
        logits = self.logits(shifted(batch.records, draws))
        hits = logits.detach().argmax(1) == batch.labels
        loss = functional.cross_entropy(logits, batch.labels)
        return {"loss": loss, "accuracy": hits.float().mean()}

    def sample(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Always raises ModelError."""
        raise ModelError("A classifier makes no samples", "Use a model of family gan or vae.")
