"""bench/compare: lbd, nginx, HAProxy and others in one run, on the same core, against the same origin.

Start reading at `cli` (the order of events), then `works` (what is measured) and `proxies` (what runs).
"""
