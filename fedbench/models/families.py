"""Names of the projections in each architecture, so that target modules are always explicit.

peft's own defaults differ from one architecture to the next (and are missing for some); a method
that tunes other modules here and there would not be one method.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedbench.errors import FedbenchError


@dataclass(frozen=True)
class Family:
    """Module names of one transformer family."""

    query: str
    key: str
    value: str
    output: str
    feedforward_in: tuple[str, ...]
    feedforward_out: str

    @property
    def linear(self) -> tuple[str, ...]:
        """Every projection of a block."""
        attention = (self.query, self.key, self.value, self.output)
        return (*attention, *self.feedforward_in, self.feedforward_out)


_GATED = Family("q_proj", "k_proj", "v_proj", "o_proj", ("gate_proj", "up_proj"), "down_proj")

FAMILIES: dict[str, Family] = {
    "llama": _GATED,
    "qwen2": _GATED,
    "qwen3": _GATED,
    "mistral": _GATED,
    "gemma": _GATED,
    "gemma2": _GATED,
    "phi": Family("q_proj", "k_proj", "v_proj", "dense", ("fc1",), "fc2"),
}


def family_of(model_type: str) -> Family:
    """The family of a Hugging Face ``model_type``.

    Raises:
        FedbenchError: its module names are not known here.
    """
    if model_type not in FAMILIES:
        raise FedbenchError(
            f"The architecture {model_type} is not supported: use one of {', '.join(FAMILIES)}, "
            "or add its module names to fedbench/models/families.py."
        )
    return FAMILIES[model_type]
