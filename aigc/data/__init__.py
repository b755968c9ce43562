"""Datasets: files → shards and a manifest → a stream of batches."""
