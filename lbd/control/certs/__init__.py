"""Certificates of TLS listeners: from files that are watched, or from an ACME authority."""
