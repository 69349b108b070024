"""Further measurements of one run; loaded lazily, so without importing JAX (SPEC 1)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
