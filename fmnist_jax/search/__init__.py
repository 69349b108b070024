"""Searches over settings: random points. Later: halving, refining, recommending."""
