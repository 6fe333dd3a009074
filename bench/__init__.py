"""Benchmarks: `compare` runs whole proxies side by side, `micro` times single parts of the engine."""
