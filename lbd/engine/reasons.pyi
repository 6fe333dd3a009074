CODES: tuple[tuple[str, int], ...]
