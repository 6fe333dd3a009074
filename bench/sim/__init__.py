"""A deterministic simulator: lbd's own clusters, balancers, guards and retries, under load and faults that
are made up.

No sockets and no waiting: time is a number that jumps from event to event. The code that decides is the code
that serves traffic (lbd/engine/cluster.pyx and what it calls, made from settings by lbd/control/compile.py);
only the servers, the clients and the network between are modelled here. The same seed gives the same
numbers.
"""
