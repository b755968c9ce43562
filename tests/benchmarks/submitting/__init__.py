"""The parts of bench_submit.py."""
