"""For rules that read gradients off a site's movement, which only plain SGD allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedbench.config import RunConfig


def only_plain_sgd(config: RunConfig) -> str:
    """Refuse optimizers that move by anything but rate times gradient."""
    if config.optimizer == "sgd" and not config.weight_decay:
        return ""
    return (
        "it takes what a site moved for the sum of rate times gradient over its steps, which is "
        "so under optimizer = sgd with weight_decay = 0 only"
    )
