"""Does an aggregator of LoRA updates do what it says? Checks for our rules, and for anybody's."""
