"""One short declarative file per experiment: a question, its axes, its figures."""
