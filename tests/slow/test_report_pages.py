"""The report in a real headless browser, at the width of a phone and of a desk."""

from __future__ import annotations

import io

import nbformat
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fedbench.files import write_bytes, write_json
from fedbench.paths import home
from fedbench.report.site import build_site
from tests.browser import CHROMIUM, look

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium here: apt-get install chromium, then again"
    ),
]

WIDE = " | ".join(f"a column number {number}" for number in range(12))
TABLE = f"| {WIDE} |\n| {' | '.join(['---'] * 12)} |\n| {WIDE} |\n"


def picture() -> bytes:
    figure, buffer = Figure(figsize=(3.5, 2)), io.BytesIO()
    figure.subplots().plot([0, 1])
    figure.savefig(buffer, dpi=200)
    return buffer.getvalue()


@pytest.fixture
def report(tmp_path):
    """A report of one notebook with a picture, a wide table and a long line of code."""
    import base64

    drawn, made = tmp_path / "figures", new_notebook()
    shown = {"image/png": base64.b64encode(picture()).decode(), "text/plain": "image"}
    made.cells = [
        new_markdown_cell("# 1. A page\n\nA [link](https://example.org) and `code`."),
        new_code_cell("x = " + " + ".join(["number"] * 60)),
    ]
    made.cells[1].outputs = [
        new_output("display_data", data=shown),
        new_output("display_data", data={"text/markdown": TABLE}),
        new_output("stream", name="stdout", text="printed"),
    ]
    for folder in (tmp_path / "notebooks", home() / "notebooks" / "tiny"):
        folder.mkdir(parents=True)
        nbformat.write(made, folder / "01_page.ipynb")
    caption = "Look-alike: synthetic look-alike data, never evidence for the paper's claims."
    called = "lookalike_fpb fedbench-llama lora federated iid seed 0"
    took = {"run": called, "started": "2026-11-20T17:10:20Z", "seconds": 8.8, "flops": 10}
    inputs = {"lookalike_fpb": {"data": "0" * 64, "sources": {"questions.jsonl": "1" * 64}}}
    origin = {
        "commit": "0123456789abcdef", "dirty": True, "code": "abc", "moved": "", "recorded": False,
        "command": "python -m fedbench figures --profile tiny", "hardware": "x86_64, 2 cores",
        "versions": {"torch": "2.13.0"}, "inputs": inputs, "runs": {"0123456789abcdef": took},
    }  # fmt: skip
    for name in ("main_table", "main_results_figure"):
        write_json(drawn / f"{name}.json", {"caption": caption, "origins": [origin]})
        write_bytes(drawn / f"{name}.csv", b"task,mean\n")
    write_bytes(drawn / "main_table.md", f"{caption}\n\n{TABLE}".encode())
    write_bytes(drawn / "main_results_figure.png", picture())
    return build_site("tiny", drawn, tmp_path / "notebooks").parent


@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_can_be_read_at_this_width(report, width, tmp_path):
    images = 0
    for page in sorted(report.glob("*.html")):
        found = look(page, width, tmp_path)
        assert found["console"] == [], page.name
        assert found["pale"] == [], page.name
        assert found["unseen"] == [], page.name
        assert found["overflow"] == 0, page.name
        assert found["least"] >= 12, page.name
        images += found["images"]
    assert images == 3


def test_the_browser_sees_what_a_reader_would_miss(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<body><p style="color:#bbb">pale</p><div style="width:2000px">wide</div>'
        '<img src="nowhere.png" alt="lost"><script>console.error("broken"); nonsense()</script>'
    )
    found = look(page, 390, tmp_path)

    assert len(found["pale"]) == 1
    assert found["unseen"] == ["lost"]
    assert found["overflow"] > 1000
    assert any("broken" in line for line in found["console"])
    assert any("nonsense" in line for line in found["console"])
