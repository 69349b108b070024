"""Functional experiments on input scaling: one pure run, swept many at a time.

The public names stand in ``__init__.pyi`` and are loaded when first used (SPEC 1), so
that importing the package, or reading a command line, does not start JAX.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
