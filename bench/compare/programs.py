"""The C programs of the benchmark, compiled in the run's directory: load generators and one origin.

They are C because they share a core with each other: a generator in Python would be what is measured.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.compare.process import BenchError

HERE = Path(__file__).resolve().parent
LIBRARIES = {"openloop": (), "handshakes": ("ssl", "crypto"), "roundtrips": (), "wsecho": ("crypto",)}
COMPILE_SECONDS = 60


def compile_program(name: str, directory: Path) -> Path:
    """Compile `name`.c of this directory; the path of the program.

    Raises BenchError when there is no C compiler or OpenSSL's headers are missing.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BenchError(f"{name}.c needs a C compiler (Debian: apt install gcc libc6-dev)")
    target = directory / name
    libraries = [f"-l{library}" for library in LIBRARIES[name]]
    command = [compiler, "-O2", "-o", str(target), str(HERE / f"{name}.c"), *libraries]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{name}.c did not compile within {COMPILE_SECONDS} s") from error
    if done.returncode:
        hint = " (Debian: apt install libssl-dev)" if libraries else ""
        raise BenchError(f"{name}.c does not compile{hint}: {done.stderr.strip()}")
    return target
