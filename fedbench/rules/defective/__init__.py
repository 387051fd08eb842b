"""Rules that are wrong on purpose, each in the way of a released system.

They are for the gallery of defects and for teaching. A configuration finds them by name, as it
finds any rule; no table of rules lists them, and every name begins with ``defect-``, so that what
they score is never taken for a result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fedbench.rules.defective.first_site import first_site
from fedbench.rules.defective.transposed_residual import transposed_residual
from fedbench.rules.defective.without_scale import residual_without_scale, stack_without_scale
from fedbench.rules.rule import Rule

DEFECTIVE: Mapping[str, Callable[..., Rule]] = {
    "defect-first-site": first_site,
    "defect-transposed-residual": transposed_residual,
    "defect-residual-without-scale": residual_without_scale,
    "defect-stack-without-scale": stack_without_scale,
}
