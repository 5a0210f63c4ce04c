"""The Benchmark tab: recordings with references, models at their precisions, and the report of it."""
