"""What faults cost: `python -m bench.resilience`. See bench/README.md."""
