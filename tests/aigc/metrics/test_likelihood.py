from __future__ import annotations

import pytest

from aigc.errors import ModelError
from aigc.metrics.likelihood import elbo


def test_the_bound_is_handed_through() -> None:
    assert elbo(lambda: -101.7) == -101.7


def test_a_model_without_a_bound_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"evidence lower bound.*Leave elbo out"):
        elbo(None)
