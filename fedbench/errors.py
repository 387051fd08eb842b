"""The one exception that a user of fedbench is meant to see."""


class FedbenchError(Exception):
    """Something the user can mend; its text is one sentence naming the thing and the remedy."""
