"""The page /docs: shows openapi.json, self-contained, with no request to anywhere else."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files


def page_and_policy() -> tuple[str, str]:
    """The HTML, and the Content-Security-Policy that lets its own script and style run and nothing else."""
    page = files("lbd.admin").joinpath("docs.html").read_text(encoding="utf-8")
    hashes = {tag: _hash_of(tag, page) for tag in ("script", "style")}
    return page, (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash_of(tag: str, page: str) -> str:
    content = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert content is not None, f"docs.html has no {tag}"
    return f"'sha256-{base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()}'"
