"""Experiments on input scaling: a run is a pure function; a sweep trains many at once.

The public names are listed in ``__init__.pyi`` and loaded lazily (SPEC 1), so importing
the package, or reading a command line, does not import JAX.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
