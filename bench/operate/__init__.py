"""What operating lbd costs those whom it serves. See __main__.py."""
