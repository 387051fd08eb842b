"""The one error that a user of the pretraining command is meant to read."""


class PretrainingError(RuntimeError):
    """Pretraining cannot go on, for a reason that one sentence explains."""
