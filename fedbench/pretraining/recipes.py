"""What each backbone is: its architecture, its size and how it is trained."""

from dataclasses import dataclass

from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config

from fedbench.pretraining.tokenizer import MAX_POSITIONS, VOCABULARY_SIZE


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the bits of a finished backbone, besides its corpus."""

    name: str
    architecture: str
    key_value_heads: int
    tokens: int
    seed: int
    hidden: int = 192
    intermediate: int = 512
    layers: int = 5
    heads: int = 6
    vocabulary: int = VOCABULARY_SIZE
    sequence: int = 256
    batch: int = 8
    peak_rate: float = 2e-3
    final_rate_share: float = 0.05
    warmup_share: float = 0.03
    weight_decay: float = 0.1
    clip: float = 1.0
    bfloat16: bool = True
    checkpoint_every: int = 200

    @property
    def steps(self) -> int:
        """Return the number of updates that the token budget pays for."""
        return self.tokens // (self.sequence * self.batch)


_TOKENS = 9_000_000
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("fedbench-llama", "llama", key_value_heads=6, tokens=_TOKENS, seed=1),
        Recipe("fedbench-qwen2", "qwen2", key_value_heads=2, tokens=_TOKENS, seed=2),
    )
}


def model_config(recipe: Recipe) -> PreTrainedConfig:
    """Return the Hugging Face configuration of a recipe."""
    kind = {"llama": LlamaConfig, "qwen2": Qwen2Config}[recipe.architecture]
    config: PreTrainedConfig = kind(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    return config
