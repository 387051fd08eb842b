"""The exceptions that a user of fedbench is meant to see."""


class FedbenchError(Exception):
    """Something the user can mend; its text is one sentence naming the thing and the remedy."""


class Damaged(FedbenchError):
    """A stored file is not what was written."""


class Replaceable(Damaged):
    """And it can be computed again: whoever needs it does so, after a warning."""
