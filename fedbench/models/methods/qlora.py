"""QLoRA: LoRA on a backbone in doubly quantised 4-bit NormalFloat (arXiv:2305.14314, 3)."""

from __future__ import annotations

from fedbench.models.methods.lora import attach
from fedbench.models.methods.method import Method
from fedbench.models.methods.peft import remove

QLORA = Method("qlora", ("nf4", "nf4-dequantised"), attach, remove)
