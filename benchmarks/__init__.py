"""Speed and memory beside others: `python -m benchmarks`, and what it is made of."""
