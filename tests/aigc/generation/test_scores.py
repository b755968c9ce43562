"""What is found out about candidates: kept with them, and not in the dataset that is published."""

from __future__ import annotations

import torch
from torch import Tensor

from aigc.data.shards import table_of
from aigc.generation.scores import AGAINST, chosen_of, findings, scored
from aigc.layout import Layout
from aigc.seeding import generator

LAYOUT = Layout(modality="image", shape=(1, 28, 28))


def images(count: int) -> Tensor:
    noise = torch.randint(0, 256, (count, 1, 28, 28), generator=generator("candidates"))
    return noise.to(torch.uint8)


def test_blank_candidates_are_found_where_they_are() -> None:
    stored = images(5)
    stored[[1, 4]] = 7
    table = scored(table_of(stored, None, LAYOUT), LAYOUT, None)

    found = findings(table)

    assert found.blank.tolist() == [False, True, False, False, True]
    assert not found.copied.any()
    assert len(found.looks.fingerprints) == len(found.looks.thumbnails) == 5
    assert AGAINST not in chosen_of(table).schema.metadata


def test_of_what_nothing_speaks_against_nothing_is_noted() -> None:
    table = scored(table_of(images(5), None, LAYOUT), LAYOUT, None)

    assert AGAINST not in table.schema.metadata
    assert chosen_of(table).schema.equals(table.schema, check_metadata=True)
    assert not findings(table).blank.any()
