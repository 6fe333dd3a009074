"""Single parts of the engine, timed: `pytest bench/micro`, and of sizes: `python -m bench.micro.ratios`."""
