"""Searches over settings: random points, successive halving, adaptive maps."""
