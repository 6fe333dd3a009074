"""The HTTP/2 endpoint of the gRPC tests serves here as well; its folder has the name of grpcio's package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "grpc"))
