"""From packages to tokens: builds the corpus folder once, in steps that survive a stop."""

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from fedbench.files import read_json, write_bytes, write_json
from fedbench.pretraining.corpus import SEED, Part, build_parts
from fedbench.pretraining.corpus_file import write_documents
from fedbench.pretraining.tokenizer import Tokens, encode, train_tokenizer

CORPUS = "corpus.txt.gz"
RECORD = "corpus.json"
TOKENIZER = "tokenizer.json"
_TOKENS = "tokens.bin"


def prepare(folder: Path) -> None:
    """Build the corpus, the tokenizer and the tokens, unless an earlier run finished them."""
    if (folder / RECORD).exists():
        return
    parts = list(build_parts(folder))
    documents = [document for part in parts for document in part.documents]
    # Shuffled, so that every window of the training mixes sources.
    random.Random(SEED).shuffle(documents)
    tokenizer = train_tokenizer(documents)
    write_bytes(folder / TOKENIZER, tokenizer.to_str(pretty=True).encode())
    write_documents(folder / CORPUS, documents)
    tokens = encode(tokenizer, documents)
    write_bytes(folder / _TOKENS, tokens.tobytes())
    # The record comes last: where it is, everything before it is whole.
    write_json(folder / RECORD, _record(parts, tokenizer, tokens))


def load_tokens(folder: Path) -> Tokens:
    """Return the tokens of the whole corpus."""
    tokens: Tokens = np.fromfile(folder / _TOKENS, dtype=np.uint16)
    return tokens


def corpus_identity(folder: Path) -> str:
    """Return the hash that tells this corpus and tokenizer from any other."""
    return str(read_json(folder / RECORD)["tokens_sha256"])


def _record(parts: list[Part], tokenizer: Tokenizer, tokens: Tokens) -> dict[str, Any]:
    counted = [part.record() | {"tokens": len(encode(tokenizer, part.documents))} for part in parts]
    return {
        "sources": counted,
        "documents": sum(len(part.documents) for part in parts),
        "tokens": len(tokens),
        "tokens_sha256": hashlib.sha256(tokens.tobytes()).hexdigest(),
    }
