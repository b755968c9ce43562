"""Watching a training for a collapse of its samples."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from aigc.data.batches import Batch
from aigc.errors import TrainingCollapsed
from aigc.metrics.collapse import CollapseConfig, collapse_figures, judge_collapse
from aigc.models.contract import Model
from aigc.seeding import sample_noise
from aigc.seeds import derive

SAMPLED_AT_ONCE = 100

log = logging.getLogger(__name__)


class CollapseWatch:
    """Compares samples of a model with records of its data, with the same noise each time.

    `batches` are training data, of which as many records are kept as are compared. Samples are
    given the records' labels.
    """

    def __init__(self, config: CollapseConfig, batches: Iterable[Batch], seed: int) -> None:
        self._config, self._seed = config, seed
        self._records, self._labels = _first(batches, config.samples)
        self._accuracies: list[float] = []
        self._figures: dict[str, float] = {}

    def hear(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The figures that the loop reports, with those of the last comparison if it is new.

        The accuracies of a discriminator among them are kept for the next comparison.
        """
        self._accuracies += [figures[name] for name in figures if "/accuracy" in name]
        told, self._figures = self._figures, {}
        return {**figures, **{f"collapse/{name}": told[name] for name in told}}

    def look(self, model: Model, step: int) -> None:
        """Compare. Raises TrainingCollapsed where a limit is crossed and `stop` is set."""
        accuracies, self._accuracies = self._accuracies, []
        if step < self._config.after:
            return
        figures = collapse_figures(self._samples(model), self._records, self._labels)
        if accuracies:
            figures["accuracy"] = sum(accuracies) / len(accuracies)
        self._figures = figures
        reason = judge_collapse(figures, self._config)
        if reason is not None:
            self._object(f"The samples have collapsed at step {step}: {reason}")

    def _object(self, what: str) -> None:
        if self._config.stop:
            raise TrainingCollapsed(
                what,
                "Try another training.seed, a lower learning rate or model.augment: true; "
                "or set other limits in training.collapse",
            )
        log.warning("%s", what)

    @torch.inference_mode()
    def _samples(self, model: Model) -> Tensor:
        """As many samples as there are records, float32 on the CPU, (N, *shape)."""
        device = next(model.parameters()).device
        seeds = [derive(self._seed, "collapse", i) for i in range(len(self._records))]
        noise = sample_noise(seeds, model.noise_size).to(device)
        labels = self._wanted(model, device)
        parts = [
            model.sample(*pair).cpu()
            for pair in zip(torch.split(noise, SAMPLED_AT_ONCE), labels, strict=True)
        ]
        return torch.cat(parts)

    def _wanted(self, model: Model, device: torch.device) -> list[Tensor | None]:
        if self._labels is None or not model.layout.classes:
            return [None] * -(-len(self._records) // SAMPLED_AT_ONCE)
        return list(torch.split(self._labels.to(device), SAMPLED_AT_ONCE))


def _first(batches: Iterable[Batch], count: int) -> tuple[Tensor, Tensor | None]:
    """The first `count` records and their labels, on the CPU; fewer if there are fewer."""
    kept: list[Batch] = []
    for batch in batches:
        kept.append(batch.to(torch.device("cpu")))
        if sum(len(each.records) for each in kept) >= count:
            break
    labels = [each.labels for each in kept if each.labels is not None]
    records = torch.cat([each.records for each in kept])[:count]
    return records, torch.cat(labels)[:count] if labels else None
