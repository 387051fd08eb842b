"""Bad Parquet tables: rows, or one sentence, also where the library that reads them crashes."""

from __future__ import annotations

import io
import json
from random import Random

import pyarrow as pa
import pytest
from pyarrow import parquet

from fedbench.errors import FedbenchError
from fedbench.tasks.parquet_apart import reader, rows_from
from tests.campaigns.mutations import Outcome, of_bytes

TABLE = pa.table(
    {
        "question": [f"what is {n}?" * (n % 5) for n in range(40)],
        "options": [{"A": "one", "B": str(n)} for n in range(40)],
        "several": [["a"] * (n % 3) for n in range(40)],
        "label": pa.array(["yes", None, "no", "no"] * 10).dictionary_encode(),
        "score": [n / 7 for n in range(40)],
    }
)


def tables():
    for compression in ("none", "snappy", "zstd", "gzip"):
        for version in ("1.0", "2.0"):
            buffer = io.BytesIO()
            parquet.write_table(TABLE, buffer, compression=compression, data_page_version=version,
                                row_group_size=25)  # fmt: skip
            yield buffer.getvalue()


def mutated(random, content, other):
    """Something wrong in the pages, or in the footer, where types, sizes and places are told."""
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    pages, footer, end = content[:start], content[start:-8], content[-8:]
    kind = random.randrange(4)
    if kind == 0:
        return of_bytes(random, content, other)
    if kind == 1:
        return (
            of_bytes(random, pages, other[: len(pages)])[:start].ljust(start, b"\0") + footer + end
        )
    footer = of_bytes(random, footer, b"")
    size = len(footer) if random.random() < 0.9 else random.choice((0, 2**31 - 1, 2**32 - 1))
    return pages + footer + size.to_bytes(4, "little") + b"PAR1"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fuzzing_of_parquet(campaign, tmp_path):
    random, seeds, path = Random(campaign.seed), [*tables()], tmp_path / "t.parquet"
    wanted, outcome, crashes = campaign.size(sample=150, full=3000), Outcome(), 0
    rows_seen = 0

    def read(process, content):
        nonlocal rows_seen
        path.write_bytes(content)
        for row in rows_from(process, path):
            json.dumps(row)
            rows_seen += 1

    while outcome.inputs < wanted:
        with reader(memory=2 << 30, seconds=10) as process:
            while process.poll() is None and outcome.inputs < wanted:
                content = mutated(random, random.choice(seeds), random.choice(seeds))
                outcome.trial("parquet", lambda c, p=process: read(p, c), content)
            crashes += process.poll() is not None
    campaign.count(**outcome.counts, crashes_of_the_library=crashes, rows=rows_seen)
    assert outcome.findings == []
    assert outcome.taken > wanted // 50
    assert outcome.refused.total() > wanted // 10


def test_good_tables_are_read_and_one_process_reads_several(tmp_path):
    path = tmp_path / "t.parquet"
    with reader() as process:
        for content in tables():
            path.write_bytes(content)
            assert list(rows_from(process, path)) == TABLE.to_pylist()
        path.write_bytes(content[:-1])
        with pytest.raises(FedbenchError, match="is not a Parquet table"):
            list(rows_from(process, path))
