"""Has Cython translate on all cores, where setuptools would use one. All settings stand in pyproject.toml."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from setuptools import Extension, setup

BUILDS = {"build", "build_ext", "bdist_wheel", "editable_wheel"}


def translate() -> None:
    """Sources that are newer than what was made of them."""
    from Cython.Build import cythonize  # is there in a build only

    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    modules = project["tool"]["setuptools"]["ext-modules"]
    cythonize([Extension(one["name"], one["sources"]) for one in modules], nthreads=os.cpu_count() or 1)


if __name__ == "__main__":
    if BUILDS & set(sys.argv):
        translate()
    setup()
