"""One small file for each library whose streams `bench_stream.py` compares.

Each has a DISTRIBUTION (its name on PyPI), `write`, which stores a source in the library's own
format, and ROUTES: the ways of reading it that the library recommends. A route is given the folder
and the shape of a record, and returns a function from an epoch's number to that epoch's batches.
"""
