"""What can be wrong with what suggestions are made from, or with the files they go to."""


class SuggestError(Exception):
    """Nothing can be suggested or written; the message is one line that says why."""
