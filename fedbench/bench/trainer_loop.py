"""The same with ``transformers.Trainer``: a new one for every site and round, as peers do."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from fedbench.bench.plain_loop import pad
from fedbench.tokens import Answered


def train(model: Any, batches: Sequence[Sequence[Answered]], learning_rate: float) -> list[float]:
    """One step per batch, in place, in the order given; their mean loss, as the only one."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    with tempfile.TemporaryDirectory(prefix="fedbench-") as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=len(batches[0]),
            learning_rate=learning_rate,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=[example for batch in batches for example in batch],
            data_collator=pad,
        )
        trainer.remove_callback(PrinterCallback)
        return [float(trainer.train().training_loss)]
