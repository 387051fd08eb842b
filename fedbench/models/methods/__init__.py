"""What is tuned: one short file per method, registered here.

Reading the registry imports neither torch nor peft, so that configurations are checked quickly.
"""

from __future__ import annotations

from fedbench.models.methods.full import FULL
from fedbench.models.methods.ia3 import IA3
from fedbench.models.methods.lora import LORA
from fedbench.models.methods.method import Method
from fedbench.models.methods.qlora import QLORA

METHODS: dict[str, Method] = {method.name: method for method in (LORA, QLORA, IA3, FULL)}

__all__ = ["METHODS", "Method"]
