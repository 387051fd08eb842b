"""The exceptions that a user of fedbench is meant to see."""


class FedbenchError(Exception):
    """Something the user can mend; its text is one sentence naming the thing and the remedy."""


class Damaged(FedbenchError):
    """A stored file is not what was written."""
