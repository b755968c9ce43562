"""What a memory says of samples."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Nearest:
    """The training record of each of N samples that it copies, or else is nearest to.

    `index` int64 (N,) is its row; `distance` float32 (N,) is how far it is: of images 1 less the
    correlation of their lowest frequencies, in frames of their own and whichever side is left,
    which is the feature space in which they are compared, and of text 1 less the share of what
    they have in common; `copied` bool (N,).
    """

    index: Tensor
    distance: Tensor
    copied: Tensor
