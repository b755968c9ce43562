"""Autoregressive models: each token of a record is predicted from those before it.

What stands before the first token is the embedding of the record's class, or of no class, so that
every token is predicted and log p(record | class) is an exact sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from aigc.config import Config
from aigc.errors import ModalityUnsupported, ModelError
from aigc.layout import Layout
from aigc.models.contract import Batch, Losses, Model, OptimizerConfig, Phase
from aigc.models.quantiser import WordsConfig
from aigc.models.tokens import (
    IGNORED,
    ByteTokens,
    CharacterTokens,
    PairTokens,
    PatchTokens,
    Tokens,
    WordTokens,
)
from aigc.models.transformer import Transformer, normalised
from aigc.seeding import Draws

LARGEST_VOCABULARY = 65_536


class SamplingConfig(Config):
    """What a token is drawn from: the model's distribution, sharpened by a `temperature` below 1,
    then cut to the `top_k` likeliest tokens, then to the fewest that together have the
    probability `top_p` (Holtzman et al. 2020)."""

    temperature: float = Field(default=1.0, gt=0)
    top_k: int | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)


class AttentionConfig(Config):
    """A decoder-only transformer over the tokens of text or of images.

    `tokens`: what a token of a text is. `vocabulary`: how many there are at most, the end and �
    among them, where they are read off the training data: characters, and the merged pairs of
    bytes of `bpe`. `levels`, `patch`: a token of an image is the joint value of patch × patch
    pixels of that many levels. `words`: it is a learned word instead, of which the transformer is
    the prior (van den Oord et al. 2017, Esser et al. 2021), and pixels have no likelihood.
    """

    family: Literal["attention"] = "attention"
    width: int = Field(default=128, ge=8, le=4096)
    depth: int = Field(default=4, ge=1, le=64)
    heads: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    tokens: Literal["bytes", "characters", "bpe"] = "bytes"
    vocabulary: int = Field(default=512, ge=3, le=LARGEST_VOCABULARY)
    levels: int = Field(default=2, ge=2, le=256)
    patch: int = Field(default=2, ge=1, le=4)
    words: WordsConfig | None = None
    sampling: SamplingConfig = SamplingConfig()
    average_decay: float | None = Field(default=0.998, gt=0, lt=1)
    optimizer: OptimizerConfig = OptimizerConfig(
        algorithm="muon", learning_rate=1e-2, beta2=0.98, schedule="cosine", warm_up=0.02
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError("width must be a multiple of twice the heads")
        if self.levels.bit_count() != 1:
            raise ValueError("levels must be a power of two")
        if self.levels ** (self.patch**2) > LARGEST_VOCABULARY:
            raise ValueError(f"levels ** (patch * patch) must be at most {LARGEST_VOCABULARY}")
        if self.tokens == "bpe" and self.vocabulary <= 256:
            raise ValueError("vocabulary must be above 256 for bpe, which begins with the bytes")
        return self


class Attention(Model):
    """Tokens, their embeddings, and a transformer whose outputs are compared with the same ones."""

    def __init__(self, config: AttentionConfig, layout: Layout) -> None:
        super().__init__(layout)
        self.config = config
        self.average_decay = config.average_decay
        self.tokens = _tokens(config, layout)
        self.prepares = self.tokens.is_fitted
        self.noise_size = length = self.tokens.length
        self.embedding = nn.Embedding(self.tokens.vocabulary, config.width)
        self.beginning = nn.Embedding(max(layout.classes, 1), config.width)
        self.places = nn.Embedding(length, config.width) if self.tokens.is_grid else None
        self.transformer = Transformer(
            length, config.width, config.depth, config.heads, config.dropout
        )
        for each in filter(None, (self.embedding, self.beginning, self.places)):
            nn.init.normal_(each.weight, std=0.02)

    def phases(self) -> Sequence[Phase]:
        taught = self.tokens.phases()
        predicted = Phase(
            "tokens",
            list(self.averaged().parameters()),
            self._loss,
            self.config.optimizer,
            matrices=self.transformer.matrices(),
            begins=max((phase.ends for phase in taught), default=0.0),
        )
        return [*taught, predicted]

    def averaged(self) -> nn.Module:
        """All but the tokens: the transformer would not know what an average of words means."""
        parts = self.embedding, self.beginning, self.places, self.transformer
        return nn.ModuleList(filter(None, parts))

    def compilable(self) -> Iterable[nn.Module]:
        return [self.transformer]

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Read the vocabulary off the training data."""
        self.tokens.fit(batches)

    def log_likelihood(self, records: Tensor, labels: Tensor | None, draws: Draws) -> Tensor:
        """log p(record | class) of each record, (B,), in nats.

        Exact for bytes and for images as they are rounded; of pairs of bytes it is that of one
        way to split the text, hence a lower bound; and all unknown characters are one. Raises
        ModelError for images of learned words.
        """
        if self.config.words is not None:
            raise ModelError(
                "The pixels of an image have no likelihood under learned words",
                "Leave these metrics out, or train a model without model.words.",
            )
        return -self._nats(self.tokens.encode(records, draws), labels, None)

    @torch.no_grad()
    def sample(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Records, (B, *layout.shape): images in [−1, 1], or bytes of text as int64.

        Column t of the noise, made uniform, picks token t by the inverse of its distribution.
        """
        uniform = torch.special.ndtr(noise.double())
        tokens = torch.zeros_like(noise, dtype=torch.int64)
        sizes = self.tokens.sizes().to(noise.device)
        room = tokens.new_full((len(noise),), self.layout.size)
        cache = self.transformer.cache(len(noise))
        before = self._beginning(labels, len(noise))
        for position in range(self.tokens.length):
            hidden = self.transformer.step(self._placed(before, position), cache, position)
            logits = self.logits(hidden)
            tokens[:, position] = pick(logits, uniform[:, position], self.config.sampling)
            room -= sizes[tokens[:, position]]
            if (room <= 0).all():
                break
            before = self.embedding(tokens[:, position])
        return self.tokens.decode(tokens)

    def hidden(self, tokens: Tensor, labels: Tensor | None, draws: Draws | None = None) -> Tensor:
        """What each of the tokens (B, T) is predicted from, (B, T, width): those before it."""
        beginning = self._beginning(labels, len(tokens))[:, None]
        before = torch.cat([beginning, self.embedding(tokens[:, :-1])], dim=1)
        hidden: Tensor = self.transformer(self._placed(before, slice(tokens.shape[1])), draws)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Those of the next token, (…, V), from (…, width); −∞ for what is no token."""
        weight = self.embedding.weight
        is_none = ~self.tokens.known().to(weight.device)
        bias = weight.new_zeros(len(weight)).masked_fill(is_none, -torch.inf)
        return functional.linear(hidden, weight, bias)

    def _loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        tokens = self.tokens.encode(batch.records, draws)
        nats = self._nats(tokens, batch.labels, draws if self.training else None).mean()
        # By the size of a record, not by the tokens that it happens to have: workers whose
        # records have more of them must not count for less.
        return {"loss": nats / self.layout.size, "nats": nats.detach()}

    def _nats(self, tokens: Tensor, labels: Tensor | None, draws: Draws | None) -> Tensor:
        """−log p of the tokens (B, T) of each record, (B,)."""
        logits = self.logits(self.hidden(tokens.clamp(min=0), labels, draws).flatten(0, 1))
        nats = functional.cross_entropy(
            logits, tokens.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return nats.view_as(tokens).sum(1)

    def _beginning(self, labels: Tensor | None, rows: int) -> Tensor:
        """What stands before the first token, (B, width)."""
        if self.layout.classes == 0:
            return self.beginning.weight.expand(rows, -1)
        if labels is None:
            raise ModelError(
                f"The model was trained on {self.layout.classes} classes and was given no labels",
                "Pass one label a record.",
            )
        begun: Tensor = self.beginning(labels)
        return begun

    def _placed(self, embedded: Tensor, places: int | slice) -> Tensor:
        """Embeddings with those of the places whose tokens they predict, where there are places."""
        if self.places is not None:
            embedded = embedded + self.places.weight[places]
        return normalised(embedded)


def pick(logits: Tensor, uniform: Tensor, sampling: SamplingConfig) -> Tensor:
    """The token at the quantile `uniform` (B,) of what the logits (B, V) are cut to.

    Never one of probability 0, although `uniform` may be 0 or 1.
    """
    cumulative = probabilities(logits.double(), sampling).cumsum(1)
    reached = uniform.clamp(min=torch.finfo(torch.float64).tiny)[:, None] * cumulative[:, -1:]
    return (cumulative < reached).sum(1)


def probabilities(logits: Tensor, sampling: SamplingConfig) -> Tensor:
    """The distribution (B, V) that tokens are drawn from."""
    logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[1]:
        least = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    likely = logits.softmax(1)
    return likely if sampling.top_p is None else _nucleus(likely, sampling.top_p)


def _nucleus(likely: Tensor, top_p: float) -> Tensor:
    """Probabilities (B, V), 0 but for the fewest whose sum reaches `top_p`."""
    ordered, tokens = likely.sort(stable=True, dim=1, descending=True)
    before = ordered.cumsum(1) - ordered
    return torch.zeros_like(likely).scatter(1, tokens, ordered * (before < top_p))


def _tokens(config: AttentionConfig, layout: Layout) -> Tokens:
    if layout.modality == "image":
        if config.words is not None:
            return WordTokens(layout, config.words)
        return PatchTokens(layout, config.levels, config.patch)
    if config.words is not None:
        raise ModalityUnsupported(
            f"Learned words are of images, and this dataset holds {layout.modality}",
            "Leave model.words out, and choose model.tokens.",
        )
    if config.tokens == "bytes":
        return ByteTokens(layout)
    kind = CharacterTokens if config.tokens == "characters" else PairTokens
    return kind(layout, config.vocabulary)
