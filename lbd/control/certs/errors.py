"""What can be wrong with certificates; apart, because `files` brings a large library along."""

from __future__ import annotations


class CertificateError(Exception):
    """str() names the file, what is wrong and what to do; `setting` is the one to blame: cert or key."""

    def __init__(self, message: str, setting: str = "cert") -> None:
        super().__init__(message)
        self.setting = setting
