"""What peft calls the two factors of LoRA; reading it imports nothing."""

DOWN, UP = ".lora_A.", ".lora_B."  #: A: (rank, in), B: (out, rank)
