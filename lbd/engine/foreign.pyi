class MissingLibrary(ImportError):
    """A library that lbd needs is not reachable through this Python; str() says what to do."""
