"""How well the order mixes what is stored sorted by class; nothing is read for it.

`python -m streams.shuffling RECORDS WINDOW`; the last line that it prints is the outcome as JSON.
"""

from __future__ import annotations

import itertools
import json
import sys

import numpy as np

from aigc.data.order import Order, Rows, Window
from aigc.data.shards import ROW_GROUP_RECORDS
from streams.ours import SHARD_RECORDS
from streams.sources import BATCH, SEED

CLASSES = 10


def quality(records: int, window: int) -> dict[str, float]:
    """Of one epoch of so many records: how far the classes of a batch are from an even mix, the
    same for independent draws, and the rank correlation of stored and streamed positions."""
    shard = [ROW_GROUP_RECORDS] * (SHARD_RECORDS // ROW_GROUP_RECORDS)
    order = Order([shard] * (records // SHARD_RECORDS), BATCH, window, ("sorted", SEED))
    windows = itertools.takewhile(lambda each: each.epoch == 0, order.windows(0))
    stored = np.concatenate([stored_positions(order, each) for each in windows])
    classes = (stored * CLASSES // order.records).reshape(-1, BATCH)
    drawn = np.random.default_rng(SEED).integers(CLASSES, size=classes.shape)
    return {
        "records": order.records,
        "distance": distance(classes),
        "distance_if_drawn": distance(drawn),
        "rank_correlation": float(np.corrcoef(np.arange(len(stored)), stored)[0, 1]),
    }


def stored_positions(order: Order, window: Window) -> Rows:
    """Where the records of a window are stored, counted over all shards, as they are streamed."""
    stored = np.empty(window.batches * window.batch_size, dtype=np.int64)
    for span in order.spans(window, range(window.batch_size)):
        rows, places = order.deal(window, range(window.batch_size), span)
        stored[places] = span.group * ROW_GROUP_RECORDS
        stored[places] += np.arange(len(places)) if rows is None else rows
    return stored


def distance(classes: Rows) -> float:
    """The mean over batches of half the summed distance of the class shares from the even ones:
    0 for an even mix, 0.9 when each batch of ten classes holds one."""
    shares = np.stack([(classes == each).mean(axis=1) for each in range(CLASSES)])
    return float(np.abs(shares - 1 / CLASSES).sum(axis=0).mean() / 2)


if __name__ == "__main__":
    print(json.dumps(quality(*map(int, sys.argv[1:]))), flush=True)
