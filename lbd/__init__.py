"""lbd: a TCP and HTTP load balancer daemon. Start reading at control/serve.py and engine/exchange.pyx."""

from lbd._version import __version__

__all__ = ["__version__"]
