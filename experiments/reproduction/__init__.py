"""What the sources ran and claimed, and how it is measured and judged."""
