"""Shared by all tests: the import path of the harness, and programs that the machine may lack."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("lbd", deadline=None)  # how long a case takes is no matter of tests
hypothesis.settings.load_profile("lbd")
sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """program("nginx") -> its path; skips when it is missing, fails with LBD_REQUIRE_ALL=1."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if path is None:
            if os.environ.get("LBD_REQUIRE_ALL") == "1":
                pytest.fail(f"needs program {name}")
            pytest.skip(f"needs program {name}")
        return path

    return find
