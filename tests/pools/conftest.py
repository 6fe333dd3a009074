"""The HTTP/2 endpoint of tests/grpc, under its own name: `grpc` itself is the library's."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "grpc"))
