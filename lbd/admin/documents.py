"""The pages for people: /docs, which shows openapi.json, and /dashboard.

Each is self-contained: its style and script stand in it, and it asks nobody else for anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

SCRIPTS = ("figures", "history", "drawing", "elements", "table", "panels", "actions", "keys", "dashboard")


@cache
def docs() -> tuple[str, str]:
    """The HTML, and the Content-Security-Policy that lets its own script and style run and nothing else."""
    page = files("lbd.admin").joinpath("docs.html").read_text(encoding="utf-8")
    return page, _policy(page)


@cache
def dashboard() -> tuple[str, str]:
    """The same. With Trusted Types nothing in names and log lines can become HTML, whatever a script does."""
    parts = files("lbd.admin").joinpath("dashboard")
    style = parts.joinpath("dashboard.css").read_text(encoding="utf-8")
    scripts = [parts.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    page = parts.joinpath("dashboard.html").read_text(encoding="utf-8")
    page = page.replace("<style></style>", f"<style>\n{style}</style>", 1)
    script = "\n".join(['"use strict";', *scripts])
    page = page.replace("<script></script>", f"<script>\n{script}</script>", 1)
    more = "img-src data:; require-trusted-types-for 'script'; trusted-types 'none'"
    return page, f"{_policy(page)}; {more}"


def _policy(page: str) -> str:
    hashes = {tag: _hash_of(tag, page) for tag in ("script", "style")}
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash_of(tag: str, page: str) -> str:
    content = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert content is not None, f"the page has no {tag}"
    return f"'sha256-{base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()}'"
