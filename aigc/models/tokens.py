"""Records as sequences of tokens, and back.

Text has three kinds of token: bytes, characters, and pairs of bytes merged again and again (byte
pair encoding, Sennrich et al. 2016). Token 0 is the end: it follows a text that is shorter than
its record, and what comes after it is IGNORED. A text that fills its record has no end, since it
goes on in the next one.

An image's token is the joint value of a patch of pixels, each rounded to one of a few levels, or a
word that is learned for a place of a coarser grid.
"""

from __future__ import annotations

import functools
import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from aigc.data.batches import Batch
from aigc.errors import ModalityUnsupported
from aigc.layout import Layout
from aigc.modalities.text import boundary
from aigc.models.contract import Losses, Phase
from aigc.models.layers import image_shape
from aigc.models.quantiser import Quantiser, WordsConfig
from aigc.seeding import Draws

END = 0
IGNORED = -1
"""What stands after a text's end: no token at all."""

UNKNOWN = 0xFFFD
"""The character � that stands for all that the vocabulary lacks."""

NO_CHARACTER = 0x110000
"""The first number that is no code point; it fills the places that a vocabulary has left."""

WORDS = " ?[A-Za-z\u0080-\u00ff]+| ?[0-9]+| ?[^ \\sA-Za-z0-9\u0080-\u00ff]+|\\s"
"""What pairs are merged within: words, numbers, punctuation; bytes above 127 are of letters."""


class Tokens(nn.Module, ABC):
    """How records become tokens 0 … vocabulary − 1, at most `length` of them, and back.

    `is_grid`: whether position t means the same place in every record. `is_fitted`: whether the
    vocabulary is read off the training data, into buffers, before the first step.
    """

    is_grid = False
    is_fitted = False

    def __init__(self, layout: Layout, vocabulary: int, length: int) -> None:
        super().__init__()
        self.layout, self.vocabulary, self.length = layout, vocabulary, length

    @abstractmethod
    def encode(self, records: Tensor, draws: Draws) -> Tensor:
        """Tokens (B, T) of records, T being that of the longest; IGNORED behind a text's end."""

    @abstractmethod
    def decode(self, tokens: Tensor) -> Tensor:
        """Records (B, *shape) from tokens (B, length); nothing counts that follows an end."""

    @abstractmethod
    def sizes(self) -> Tensor:
        """How much of a record each token fills, int64, (vocabulary,), of `layout.size` in all."""

    def known(self) -> Tensor:
        """Which tokens there are, bool, (vocabulary,): a fitted vocabulary may not need all."""
        return torch.ones(self.vocabulary, dtype=torch.bool)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Read the vocabulary off the training data, in one pass."""
        return None

    def phases(self) -> Sequence[Phase]:
        """What teaches the tokens themselves, before they are predicted."""
        return ()


class PatchTokens(Tokens):
    """Images whose pixels are rounded to `levels`, patch by patch of one channel, row by row.

    A patch's channels follow one another. With two levels a pixel is 1 with probability its
    intensity, anew at each encoding (Salakhutdinov & Murray 2008); with more, the nearest one.
    """

    is_grid = True

    def __init__(self, layout: Layout, levels: int, patch: int) -> None:
        _, height, width = image_shape(layout)
        if height % patch or width % patch:
            raise ModalityUnsupported(
                f"Images of {height}×{width} cannot be cut into patches of {patch}×{patch}",
                "Choose a model.patch that divides both sides.",
            )
        super().__init__(layout, levels ** (patch * patch), layout.size // (patch * patch))
        self.levels, self.patch = levels, patch

    def encode(self, records: Tensor, draws: Draws) -> Tensor:
        pixels = self._rounded((records + 1) / 2, draws)
        rows, columns = (side // self.patch for side in self.layout.shape[1:])
        cut = pixels.view(len(pixels), -1, rows, self.patch, columns, self.patch)
        patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(len(pixels), -1, self.patch**2)
        return (patches * self._powers(records.device)).sum(2)

    def decode(self, tokens: Tensor) -> Tensor:
        rows, columns = (side // self.patch for side in self.layout.shape[1:])
        digits = tokens[..., None] // self._powers(tokens.device) % self.levels
        patches = digits.view(len(tokens), rows, columns, -1, self.patch, self.patch)
        pixels = patches.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), *self.layout.shape)
        return pixels * (2 / (self.levels - 1)) - 1

    def sizes(self) -> Tensor:
        return torch.full((self.vocabulary,), self.patch**2)

    def _rounded(self, intensities: Tensor, draws: Draws) -> Tensor:
        """Levels 0 … levels − 1 of intensities in [0, 1]."""
        if self.levels == 2:
            return (draws.uniform(*intensities.shape).to(intensities.device) < intensities).long()
        return (intensities * (self.levels - 1)).round().long().clamp(0, self.levels - 1)

    def _powers(self, device: torch.device) -> Tensor:
        return self.levels ** torch.arange(self.patch**2, device=device)


class WordTokens(Tokens):
    """Images as the words of a quantiser, row by row; learned first, and then left as they are."""

    is_grid = True

    def __init__(self, layout: Layout, config: WordsConfig) -> None:
        quantiser = Quantiser(config, layout)
        super().__init__(layout, config.count, math.prod(quantiser.grid))
        self.config, self.quantiser = config, quantiser

    def encode(self, records: Tensor, draws: Draws) -> Tensor:
        return self.quantiser.encode(records).flatten(1)

    def decode(self, tokens: Tensor) -> Tensor:
        return self.quantiser.decode(tokens.view(len(tokens), *self.quantiser.grid))

    def sizes(self) -> Tensor:
        return torch.full((self.vocabulary,), self.layout.size // self.length)

    def phases(self) -> Sequence[Phase]:
        parameters, config = list(self.quantiser.parameters()), self.config
        return [Phase("words", parameters, self._loss, config.optimizer, ends=config.share)]

    def _loss(self, batch: Batch, draws: Draws, progress: float) -> Losses:
        return self.quantiser.losses(batch.records)


class TextTokens(Tokens):
    """Text (B, L) of bytes; 0 is padding."""

    def __init__(self, layout: Layout, vocabulary: int) -> None:
        super().__init__(layout, vocabulary, layout.size)

    @abstractmethod
    def split(self, texts: Sequence[bytes]) -> list[list[int]]:
        """The tokens of each text, without an end."""

    @abstractmethod
    def pieces(self) -> list[bytes]:
        """What each token stands for; nothing for one that does not exist."""

    def encode(self, records: Tensor, draws: Draws) -> Tensor:
        texts = list(_texts(records))
        rows = [
            torch.tensor(row if len(text) == self.length else [*row, END])
            for text, row in zip(texts, self.split(texts), strict=True)
        ]
        padded = pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        return padded.to(records.device)

    def decode(self, tokens: Tensor) -> Tensor:
        pieces = self.pieces()
        records = torch.zeros(len(tokens), self.length, dtype=torch.int64)
        for record, row in zip(records, tokens.tolist(), strict=True):
            stop = row.index(END) if END in row else len(row)
            text = b"".join(pieces[token] for token in row[:stop])
            text = text[: boundary(text, self.length)]
            record[: len(text)] = torch.tensor(list(text), dtype=torch.int64)
        return records.to(tokens.device)

    def sizes(self) -> Tensor:
        sizes = torch.tensor([len(piece) for piece in self.pieces()])
        sizes[END] = self.length
        return sizes


class ByteTokens(TextTokens):
    """A token is a byte."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, 256)

    def split(self, texts: Sequence[bytes]) -> list[list[int]]:
        return [list(text) for text in texts]

    def pieces(self) -> list[bytes]:
        return [bytes([value]) for value in range(256)]


class CharacterTokens(TextTokens):
    """A token is a character of the training data; the rarest, if they are too many, and those of
    other data are � to it, and so are bytes that are no UTF-8."""

    is_fitted = True
    points: Tensor

    def __init__(self, layout: Layout, vocabulary: int) -> None:
        super().__init__(layout, vocabulary)
        self.register_buffer("points", self._sorted([]))

    def fit(self, batches: Iterable[Batch]) -> None:
        counts: Counter[str] = Counter()
        for batch in batches:
            for text in _texts(batch.records):
                counts.update(text.decode("utf-8", "replace"))
        counts.pop(chr(UNKNOWN), None)
        # The most frequent, and of equals the first: whatever order they were met in.
        ranked = sorted(counts, key=lambda character: (-counts[character], character))
        self.points.copy_(self._sorted([ord(each) for each in ranked[: self.vocabulary - 2]]))

    def known(self) -> Tensor:
        return self.points < NO_CHARACTER

    def split(self, texts: Sequence[bytes]) -> list[list[int]]:
        points = self.points.tolist()
        tokens = {chr(point): token for token, point in enumerate(points) if point < NO_CHARACTER}
        unknown = tokens[chr(UNKNOWN)]
        return [
            [tokens.get(each, unknown) for each in text.decode("utf-8", "replace")]
            for text in texts
        ]

    def pieces(self) -> list[bytes]:
        points = self.points.tolist()
        return [chr(point).encode() if point < NO_CHARACTER else b"" for point in points]

    def _sorted(self, points: list[int]) -> Tensor:
        rest = [NO_CHARACTER] * (self.vocabulary - 2 - len(points))
        return torch.tensor(sorted([END, UNKNOWN, *points]) + rest)


class PairTokens(TextTokens):
    """Byte pair encoding: 256 bytes, then pairs of earlier tokens, the most frequent first.

    `merges`: the two tokens of each pair, int64, (vocabulary − 256, 2); (0, 0) for no pair.
    """

    is_fitted = True
    merges: Tensor

    def __init__(self, layout: Layout, vocabulary: int) -> None:
        super().__init__(layout, vocabulary)
        self.register_buffer("merges", torch.zeros(vocabulary - 256, 2, dtype=torch.int64))

    def fit(self, batches: Iterable[Batch]) -> None:
        merges = _learned(_as_characters(batches), self.vocabulary)[: len(self.merges)]
        self.merges.zero_()
        if merges:
            self.merges[: len(merges)] = torch.tensor(merges)

    def known(self) -> Tensor:
        kept = self.merges.any(1)
        return torch.cat([kept.new_ones(256), kept])

    def split(self, texts: Sequence[bytes]) -> list[list[int]]:
        tokenizer = _tokenizer(tuple(self._pairs()))
        found = tokenizer.encode_batch([text.decode("latin-1") for text in texts])
        return [encoding.ids for encoding in found]

    def pieces(self) -> list[bytes]:
        pieces = _pieces(self._pairs())
        return pieces + [b""] * (self.vocabulary - len(pieces))

    def _pairs(self) -> list[tuple[int, int]]:
        return [(left, right) for left, right in self.merges.tolist() if left or right]


def _texts(records: Tensor) -> Iterator[bytes]:
    """Records (B, L) without their padding."""
    for record in records.to(torch.uint8).cpu().numpy():
        yield record.tobytes().rstrip(b"\0")


def _as_characters(batches: Iterable[Batch]) -> Iterator[str]:
    """Every text as one character a byte, so that any bytes at all can be merged and come back."""
    for batch in batches:
        yield from (text.decode("latin-1") for text in _texts(batch.records))


def _learned(texts: Iterator[str], vocabulary: int) -> list[tuple[int, int]]:
    """The pairs of tokens that byte pair encoding merges, in their order."""
    tokenizer = _untrained(models.BPE())
    alphabet = [chr(value) for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokens = {character: value for value, character in enumerate(alphabet)}
    merges = []
    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        merges.append((tokens[left], tokens[right]))
        tokens[left + right] = 255 + len(merges)
    return merges


@functools.lru_cache(maxsize=4)
def _tokenizer(merges: tuple[tuple[int, int], ...]) -> Tokenizer:
    """What splits texts by these merges; making it takes longer than splitting a batch."""
    names = [piece.decode("latin-1") for piece in _pieces(merges)]
    vocabulary = {name: token for token, name in enumerate(names)}
    return _untrained(models.BPE(vocabulary, [(names[a], names[b]) for a, b in merges]))


def _untrained(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORDS), "isolated")
    return tokenizer


def _pieces(merges: Iterable[tuple[int, int]]) -> list[bytes]:
    pieces = [bytes([value]) for value in range(256)]
    for left, right in merges:
        pieces.append(pieces[left] + pieces[right])
    return pieces
