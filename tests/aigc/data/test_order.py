from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigc.data.order import SHARDS_TOGETHER, Order, Window

Record = tuple[int, int]
"""A row group, and a row of it."""

sizes = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=6), min_size=1, max_size=20)


def dealt(order: Order, window: Window, slots: range) -> list[list[Record]]:
    """The records of each batch of a window that stand in `slots`."""
    places: list[Record | None] = [None] * (window.batches * len(slots))
    for span in order.spans(window, slots):
        rows, to = order.deal(window, slots, span)
        for row, place in zip(range(len(to)) if rows is None else rows, to, strict=True):
            assert places[place] is None
            places[place] = (span.group, int(row))
    assert None not in places
    found = [record for record in places if record is not None]
    return [found[b * len(slots) : (b + 1) * len(slots)] for b in range(window.batches)]


def epoch_of(order: Order, epoch: int = 0, batch: int = 0) -> list[list[Record]]:
    """The batches of an epoch from `batch` on, whole windows."""
    windows = itertools.takewhile(lambda w: w.epoch == epoch, order.windows(epoch, batch))
    return [b for w in windows for b in dealt(order, w, range(w.batch_size))]


def part(worker: int, workers: int, count: int) -> range:
    return range(count * worker // workers, count * (worker + 1) // workers)


@given(sizes, st.integers(1, 50), st.integers(1, 300), st.integers(0, 3), st.booleans())
def test_an_epoch_has_each_record_once(
    shards: list[list[int]], batch_size: int, window: int, epoch: int, drop_last: bool
) -> None:
    order = Order(shards, batch_size, window, ("digest", 0), drop_last)
    if not order.batches_per_epoch:
        return
    batches = epoch_of(order, epoch)
    seen = [record for batch in batches for record in batch]
    groups = [size for shard in shards for size in shard]
    stored = {(group, row) for group, size in enumerate(groups) for row in range(size)}

    assert len(batches) == order.batches_per_epoch
    assert len(seen) == len(set(seen))
    assert set(seen) <= stored
    assert len(stored) - len(seen) == (len(stored) % batch_size if drop_last else 0)
    assert all(len(batch) == batch_size for batch in batches[: len(stored) // batch_size])


@pytest.mark.parametrize("workers", [2, 3, 4, 8, 64])
@given(st.integers(0, 2**40), st.integers(1, 200), st.integers(1, 400), st.booleans())
def test_workers_together_have_what_one_worker_has(
    workers: int, seed: int, batch_size: int, window: int, drop_last: bool
) -> None:
    order = Order([[30, 30, 7], [30], [11, 0, 30]], batch_size, window, (seed,), drop_last)
    windows = itertools.takewhile(lambda w: w.epoch == 0, order.windows(0))
    for each in windows if order.batches_per_epoch else ():
        alone = dealt(order, each, range(each.batch_size))
        shares = [part(worker, workers, each.batch_size) for worker in range(workers)]
        together = [dealt(order, each, slots) for slots in shares]
        assert [list(itertools.chain(*parts)) for parts in zip(*together, strict=True)] == alone


@given(sizes, st.integers(1, 20), st.integers(1, 100), st.data())
def test_any_batch_can_be_the_first(
    shards: list[list[int]], batch_size: int, window: int, data: st.DataObject
) -> None:
    order = Order(shards, batch_size, window, drop_last=False)
    if not order.batches_per_epoch:
        return
    start = data.draw(st.integers(0, order.batches_per_epoch - 1))
    first = next(order.windows(1, start))

    assert first.first <= start < first.first + first.batches
    assert epoch_of(order, 1, start) == epoch_of(order, 1)[first.first :]


def test_the_order_depends_on_the_dataset_the_seed_and_the_epoch() -> None:
    shards = [[50, 50], [50]]
    orders = [
        epoch_of(Order(shards, 10, 60, key), epoch)
        for key in (("a", 1), ("a", 2), ("b", 1))
        for epoch in (0, 1)
    ]

    assert epoch_of(Order(shards, 10, 60, ("a", 1)), 0) == orders[0]
    assert all(one != other for one, other in itertools.combinations(orders, 2))


def test_a_window_draws_from_no_more_row_groups_than_it_holds() -> None:
    order = Order([[10] * 64] * 40, 16, 320, ("x",))
    for window in itertools.islice(order.windows(0), 40):
        assert len(order.spans(window, range(16))) <= 320 // 10 + 1


def test_workers_share_the_row_groups_of_a_window() -> None:
    """Each of four workers reads a quarter of them, and one more at the most."""
    order = Order([[10] * 64] * 40, 16, 320, ("x",))
    for window in itertools.islice(order.windows(0), 40):
        for worker in range(4):
            assert len(order.spans(window, part(worker, 4, 16))) <= 320 // 10 // 4 + 1


def test_few_shards_are_open_at_a_time() -> None:
    """Each of 300 is opened once, if twice as many are kept open as are shuffled together."""
    order = Order([[10] * 32] * 300, 16, 320, ("x",))
    opened, kept = 0, dict[int, None]()
    for window in itertools.takewhile(lambda w: w.epoch == 0, order.windows(0)):
        for span in order.spans(window, range(16)):
            shard = span.group // 32
            opened += shard not in kept
            kept.pop(shard, None)
            kept[shard] = None
            if len(kept) > 2 * SHARDS_TOGETHER:
                kept.pop(next(iter(kept)))

    assert opened == 300


def test_class_sorted_records_are_mixed_as_far_as_the_window_reaches() -> None:
    """Ten classes, stored one after the other: the mix of a batch is about that of a draw."""
    order = Order([[100] * 50] * 20, 50, 10_000, ("x",))
    batches = np.array(epoch_of(order))
    classes = batches[:, :, 0] // 100
    mix = np.stack([(classes == each).mean(axis=1) for each in range(10)])
    stored = (batches[:, :, 0] * 100 + batches[:, :, 1]).flatten()

    assert np.abs(mix - 0.1).sum(axis=0).mean() / 2 < 0.25
    assert abs(np.corrcoef(np.arange(len(stored)), stored)[0, 1]) < 0.1
