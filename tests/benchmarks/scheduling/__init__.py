"""Parts of bench_schedule."""
