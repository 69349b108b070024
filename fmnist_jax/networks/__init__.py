"""Networks of any library as one pair of pure functions, ``init`` and ``apply``."""
