"""The tokenizer of both backbones: byte-level BPE with every digit a token of its own."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from fedbench.files import write_bytes, write_plain_json
from fedbench.pretraining.corpus_file import END

PAD = "<|pad|>"
VOCABULARY_SIZE = 4096
MAX_POSITIONS = 1024
Tokens = NDArray[np.uint16]
_BATCH = 2000


def train_tokenizer(documents: Iterable[str], size: int = VOCABULARY_SIZE) -> Tokenizer:
    """Learn the merges from the corpus; the end mark has id 0 and the padding id 1."""
    tokenizer = Tokenizer(models.BPE())
    splits = [
        pre_tokenizers.Split(Regex(r"\d"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: Sequence[str]) -> Tokens:
    """Encode the documents one after the other, each closed by the end mark."""
    end = np.array([tokenizer.token_to_id(END)], dtype=np.uint16)
    pieces: list[Tokens] = []
    for start in range(0, len(documents), _BATCH):
        for encoded in tokenizer.encode_batch_fast(list(documents[start : start + _BATCH])):
            pieces += [np.array(encoded.ids, dtype=np.uint16), end]
    return np.concatenate(pieces) if pieces else end[:0]


def tokenizer_config() -> dict[str, Any]:
    """Return the settings with which ``PreTrainedTokenizerFast`` loads the tokenizer."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_POSITIONS,
    }


def save_tokenizer(tokenizer_json: str, folder: Path) -> None:
    """Write the two tokenizer files of a backbone."""
    write_bytes(folder / "tokenizer.json", tokenizer_json.encode())
    write_plain_json(folder / "tokenizer_config.json", tokenizer_config())
