"""A decoder-only transformer (Vaswani et al. 2017) as it is built today.

Normalised before each part by the root mean square (Zhang & Sennrich 2019), rotary positions (Su et
al. 2021), gated feed-forward parts (SwiGLU, Shazeer 2020), queries and keys normalised (Henry et
al. 2020), no biases. A norm has no gain: the matrix that follows it can hold one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from aigc.seeding import Draws

ROTARY_BASE = 10_000.0


def normalised(x: Tensor) -> Tensor:
    """`x` divided by the root mean square of its last dimension."""
    return functional.rms_norm(x, x.shape[-1:])


def rotations(length: int, size: int) -> Tensor:
    """Cosine and sine of each position's angle for each pair of features, (2, T, size/2)."""
    rates = ROTARY_BASE ** -(torch.arange(0, size, 2) / size)
    angles = torch.outer(torch.arange(length).float(), rates)
    return torch.stack([angles.cos(), angles.sin()])


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """The pairs (i, i + size/2) of `x` (…, T, size) turned by the angles of their positions."""
    left, right = x.chunk(2, dim=-1)
    cosine, sine = rotation
    return torch.cat([left * cosine - right * sine, left * sine + right * cosine], dim=-1)


class SelfAttention(nn.Module):
    """Each position of (B, T, width) sees itself and those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        """(B, T, width) from (B, T, width)."""
        queries, keys, values = self._projected(x, rotation)
        return self._joined(
            functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        )

    def step(self, x: Tensor, rotation: Tensor, kept: Tensor, position: int) -> Tensor:
        """(B, 1, width) of one position, whose keys and values are added to those `kept` so far,
        (2, B, heads, T, size)."""
        queries, keys, values = self._projected(x, rotation)
        kept[0, :, :, position], kept[1, :, :, position] = keys[:, :, 0], values[:, :, 0]
        keys, values = kept[:, :, :, : position + 1]
        return self._joined(functional.scaled_dot_product_attention(queries, keys, values))

    def _projected(self, x: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, heads, T, size) each."""
        parts = self.inputs(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys = rotated(normalised(parts[:2]), rotation)
        return queries, keys, parts[2]

    def _joined(self, heads: Tensor) -> Tensor:
        joined: Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return joined


class FeedForward(nn.Module):
    """SwiGLU: silu(A x) ⊙ B x, back to the width. 8/3 of the width inside, as many weights as a
    plain one of four times the width has."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inside = -(-8 * width // 24) * 8
        self.inputs = nn.Linear(width, 2 * inside, bias=False)
        self.output = nn.Linear(inside, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) from (B, T, width)."""
        gate, values = self.inputs(x).chunk(2, dim=-1)
        mixed: Tensor = self.output(functional.silu(gate) * values)
        return mixed


class Block(nn.Module):
    """Attention, then the feed-forward part, each added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.feed_forward = FeedForward(width)

    def forward(self, x: Tensor, rotation: Tensor, drop: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, T, width) from (B, T, width); `drop` is applied to what each part adds."""
        x = x + drop(self.attention(normalised(x), rotation))
        return x + drop(self.feed_forward(normalised(x)))

    def step(self, x: Tensor, rotation: Tensor, kept: Tensor, position: int) -> Tensor:
        """The same for one position (B, 1, width), after those whose keys and values are `kept`."""
        x = x + self.attention.step(normalised(x), rotation, kept, position)
        x = x + self.feed_forward(normalised(x))
        return x


class Transformer(nn.Module):
    """`depth` blocks over up to `length` positions of `width` features."""

    rotation: Tensor

    def __init__(self, length: int, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self._cache_shape = (depth, 2, heads, length, width // heads)
        self.register_buffer("rotation", rotations(length, width // heads), persistent=False)
        self._initialise(width)

    def matrices(self) -> list[nn.Parameter]:
        """The weights of the blocks, all of them matrices."""
        return list(self.blocks.parameters())

    def forward(self, x: Tensor, draws: Draws | None = None) -> Tensor:
        """(B, T, width) from (B, T, width). With `draws`, features are dropped out."""
        rotation, drop = self.rotation[:, : x.shape[1]], self.dropped(draws)
        for block in self.blocks:
            x = block(x, rotation, drop)
        return normalised(x)

    def cache(self, rows: int) -> Tensor:
        """Room for the keys and values of every position, (depth, 2, rows, heads, length, size)."""
        depth, pair, *rest = self._cache_shape
        return self.rotation.new_empty(depth, pair, rows, *rest)

    def step(self, x: Tensor, cache: Tensor, position: int) -> Tensor:
        """One position (B, width) to (B, width), after those that are in the cache."""
        x, rotation = x[:, None], self.rotation[:, position : position + 1]
        for block, kept in zip(self.blocks, cache, strict=True):
            x = block.step(x, rotation, kept, position)  # type: ignore[operator]
        return normalised(x)[:, 0]

    def dropped(self, draws: Draws | None) -> Callable[[Tensor], Tensor]:
        """What drops features out, with `draws`.

        A record loses the same features at all of its positions (Gal & Ghahramani 2016), so
        that what is drawn does not depend on how long the batch's longest record is."""
        if draws is None or self.dropout == 0:
            return lambda x: x

        def drop(x: Tensor) -> Tensor:
            kept = draws.uniform(len(x), 1, x.shape[2]).to(x.device) >= self.dropout
            return x * kept / (1 - self.dropout)

        return drop

    @torch.no_grad()
    def _initialise(self, width: int) -> None:
        """What a part adds is 0 at first: the blocks begin as the identity."""
        for name, weight in self.blocks.named_parameters():
            if name.endswith("output.weight"):
                weight.zero_()
            else:
                weight.normal_(0, width**-0.5)
