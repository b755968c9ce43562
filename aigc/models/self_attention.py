"""Self-attention over the places of an image (SAGAN: Zhang et al. 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Features (B, C, H, W) to features of that shape: x + γ · attention(x), with γ = 0 at first.

    Keys and queries have an eighth of the channels, values a half, as in the paper. Its logits are
    not scaled; ours are, by 1/√d, so that they do not depend on the width.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner, outer = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, outer, 1, bias=False)
        self.output = nn.Conv2d(outer, channels, 1, bias=False)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        query, key = self.query(features).flatten(2), self.key(features).flatten(2)
        # Plain products: gradient penalties differentiate twice, which fused kernels cannot.
        logits = query.transpose(1, 2) @ key / math.sqrt(query.shape[1])
        seen = self.value(features).flatten(2) @ logits.softmax(2).transpose(1, 2)
        attended: Tensor = self.output(seen.unflatten(2, features.shape[2:]))
        return features + self.gate * attended
