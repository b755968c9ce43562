from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from aigc.metrics.features import BATCH_SIZE, Extractor, extract


class TinyClassifier(nn.Module):
    """A small real extractor that notes the sizes of the batches it was shown."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh())
        self.head = nn.Linear(8, 3)
        self.seen: list[int] = []

    def features(self, records: Tensor) -> Tensor:
        self.seen.append(len(records))
        features: Tensor = self.body(records)
        return features

    def logits(self, records: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(records))
        return logits


@pytest.fixture
def extractor() -> TinyClassifier:
    return TinyClassifier()


def records(rows: int) -> Tensor:
    return torch.rand(rows, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_extracts_features_and_probabilities_of_every_record(extractor: TinyClassifier) -> None:
    found = extract(extractor, [records(300)[:120], records(300)[120:]])
    assert found.features.shape == (300, 8)
    assert found.features.dtype == found.probabilities.dtype == torch.float32
    torch.testing.assert_close(found.features, extractor.features(records(300)).detach())
    torch.testing.assert_close(
        found.probabilities, extractor.logits(records(300)).detach().softmax(dim=1)
    )
    assert not found.features.requires_grad


@pytest.mark.parametrize("piece", [1, 7, 256, 300, 600])
def test_the_pieces_that_records_arrive_in_change_nothing(
    extractor: TinyClassifier, piece: int
) -> None:
    pieces = [records(600)[start : start + piece] for start in range(0, 600, piece)]
    found = extract(extractor, pieces)
    assert extractor.seen == [BATCH_SIZE, BATCH_SIZE, 600 - 2 * BATCH_SIZE]
    whole = extract(extractor, [records(600)])
    assert torch.equal(found.features, whole.features)
    assert torch.equal(found.probabilities, whole.probabilities)


def test_no_records_give_no_rows(extractor: TinyClassifier) -> None:
    assert len(extract(extractor, []).features) == 0
    assert len(extract(extractor, [records(0)]).probabilities) == 0


def test_first_cuts_both_tensors(extractor: TinyClassifier) -> None:
    found = extract(extractor, [records(20)])
    assert torch.equal(found.first(5).features, found.features[:5])
    assert torch.equal(found.first(5).probabilities, found.probabilities[:5])


def test_any_object_with_both_methods_is_an_extractor(extractor: TinyClassifier) -> None:
    accepted: Extractor = extractor
    assert accepted is extractor
