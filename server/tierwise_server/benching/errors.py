"""What can go wrong with a benchmark."""


class BenchError(Exception):
    """A benchmark that can't be made; the message says what to do."""
