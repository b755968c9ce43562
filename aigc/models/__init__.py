"""The model families. A new one is a file here, a line in FAMILIES and one in ModelConfig."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field

from aigc.config import Config
from aigc.errors import ModalityUnsupported
from aigc.layout import Layout
from aigc.models.attention import Attention, AttentionConfig
from aigc.models.classifier import Classifier, ClassifierConfig
from aigc.models.contract import Model
from aigc.models.gan import GAN, GANConfig
from aigc.models.vae import VAE, VAEConfig
from aigc.seeds import derive

ModelConfig = Annotated[
    GANConfig | VAEConfig | AttentionConfig | ClassifierConfig, Field(discriminator="family")
]
"""What a spec says under `model`."""


class Family(NamedTuple):
    """A kind of model: its configuration, its class and what it can make.

    `generative`: whether it makes samples. `unbounded`: why a model of that configuration has no
    likelihood of a record, nor a bound on it; None where it has.
    """

    config: type[Config]
    model: Callable[[Any, Layout], Model]
    modalities: frozenset[str]
    generative: bool
    unbounded: Callable[[Any], str | None]


def _never_bounded(config: GANConfig | ClassifierConfig) -> str:
    return f"a {config.family} has no bound on the likelihood"


def _always_bounded(config: VAEConfig) -> None:
    return None


def _bounded_without_words(config: AttentionConfig) -> str | None:
    reason = "with model.words there is no bound on the likelihood of pixels"
    return None if config.words is None else reason


FAMILIES: dict[str, Family] = {
    "gan": Family(GANConfig, GAN, frozenset({"image"}), True, _never_bounded),
    "vae": Family(VAEConfig, VAE, frozenset({"image"}), True, _always_bounded),
    "attention": Family(
        AttentionConfig, Attention, frozenset({"image", "text"}), True, _bounded_without_words
    ),
    "classifier": Family(ClassifierConfig, Classifier, frozenset({"image"}), False, _never_bounded),
}


def build(config: ModelConfig, layout: Layout, seed: int) -> Model:
    """The model, its weights drawn from `seed` alone; torch's own random state is left as it was.

    Raises ModalityUnsupported when the family cannot make that modality or that shape.
    """
    family = FAMILIES[config.family]
    if layout.modality not in family.modalities:
        raise ModalityUnsupported(
            f"The family {config.family} makes {_listed(family.modalities)}, "
            f"and this dataset holds {layout.modality}",
            _suggestion(layout.modality),
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "weights"))
        return family.model(config, layout)


def _listed(words: frozenset[str]) -> str:
    return " and ".join(sorted(words))


def _suggestion(modality: str) -> str:
    able = [name for name, family in FAMILIES.items() if modality in family.modalities]
    return f"Use a model of family {' or '.join(able)}." if able else "No family makes that yet."
