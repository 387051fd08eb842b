from __future__ import annotations

import html
import json
import re
import shutil

import nbformat
import pytest

from fedbench import grid
from fedbench.errors import FedbenchError
from fedbench.paths import home
from fedbench.report import site, verify, write_table
from fedbench.report.folding import MORE
from fedbench.report.site import (
    broken_links,
    build_site,
    claims_section,
    distinct_origins,
    from_markdown,
    notebook_page,
)
from fedbench.report.tables import main_results, wide
from fedbench.report.verdicts import points
from fedbench.report.writing import write_origin

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def notebook(path, text="# 1. A page\n\nWords."):
    made = nbformat.v4.new_notebook()
    shown = [
        nbformat.v4.new_output("display_data", data={"image/png": PIXEL, "text/plain": "image"}),
        nbformat.v4.new_output("execute_result", data={"text/markdown": "| a |\n| --- |\n| b |\n"}),
    ]
    made.cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("1 < 2")]
    made.cells[1].outputs = shown
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, path)
    return path


@pytest.fixture(scope="module")
def figures(runs, tmp_path_factory):
    """A folder as notebooks leave it: a table, and what stands for a figure; not to be changed."""
    folder, page = tmp_path_factory.mktemp("figures"), wide(main_results(runs))
    for name in ("main_table", "main_results_figure"):
        write_table(page, name, folder, runs, "Main.")
    (folder / "main_results_figure.png").write_bytes(b"a picture")
    return folder


@pytest.fixture
def drawn(figures, tmp_path):
    """Figures and an executed notebook, where a report looks for them."""
    notebook(tmp_path / "notebooks" / "01_page.ipynb")
    notebook(home() / "notebooks" / "tiny" / "01_page.ipynb")
    shutil.copytree(figures, tmp_path / "figures")
    return tmp_path


def built(drawn):
    return build_site("tiny", drawn / "figures", drawn / "notebooks").parent


def test_every_page_is_one_click_from_the_first_and_no_link_is_broken(drawn):
    folder = built(drawn)
    index = (folder / "index.html").read_text()

    assert broken_links(folder) == []
    assert sorted(path.name for path in folder.glob("*.html")) == [
        "01_page.html", "figures.html", "index.html", "provenance.html",
    ]  # fmt: skip
    for page in folder.glob("*.html"):
        assert f'href="{page.name}"' in index
    assert 'href="files/main_table.csv"' in index


def test_pages_load_nothing_and_run_nothing(drawn):
    for page in built(drawn).glob("*.html"):
        text = page.read_text()
        assert 'name="viewport"' in text
        assert "<script" not in text
        assert "@import" not in text
        assert "url(" not in text
        assert 'src="http' not in text


def test_a_notebook_keeps_its_pictures_and_its_tables_scroll(drawn):
    page = (built(drawn) / "01_page.html").read_text()

    assert f"data:image/png;base64,{PIXEL}" in page.replace("\n", "")
    assert '<div class="scroll" tabindex="0"' in page
    assert "Figure of “1. A page”" in page
    assert "1 &lt; 2" in re.sub(r"</?span[^>]*>", "", page)


def test_a_notebook_shows_only_the_parameters_it_ran_with(tmp_path):
    path = notebook(tmp_path / "01_page.ipynb")
    made = nbformat.read(path, as_version=4)
    asked = nbformat.v4.new_code_cell("'default'", metadata={"tags": ["parameters"]})
    given = nbformat.v4.new_code_cell("'given'", metadata={"tags": ["injected-parameters"]})

    made.cells.insert(1, asked)
    nbformat.write(made, path)
    assert "default" in notebook_page(path)[1]
    made.cells.insert(2, given)
    nbformat.write(made, path)
    assert "default" not in notebook_page(path)[1]
    assert "given" in notebook_page(path)[1]


def test_a_long_caption_is_folded_wherever_it_is_shown_but_for_what_is_synthetic(drawn):
    said = "Data: synthetic look-alike data, never evidence."
    limits = ["The training set is limited."] * 20
    caption = " ".join(["Main.", *limits, said])
    page = "\n".join(
        ["Main.", "", "| a |", "| --- |", "", *(f"- {n}" for n in [*limits, said]), ""]
    )
    (drawn / "figures" / "main_table.md").write_text(page)
    for name in ("main_results_figure", "main_table"):
        write_origin(drawn / "figures", name, {"caption": caption})
    copy = home() / "notebooks" / "tiny" / "01_page.ipynb"
    made = nbformat.read(copy, as_version=4)
    made.cells[1].outputs[1].data["text/markdown"] = page
    nbformat.write(made, copy)

    folder = built(drawn)
    for name in ("index.html", "figures.html", "01_page.html"):
        shown, _, hidden = (folder / name).read_text().partition("<details>")
        assert said in shown
        assert f"<summary>{MORE}</summary>" in hidden
        assert "The training set is limited." in hidden.partition("</details>")[0]


def test_an_interval_in_a_table_stays_on_one_line():
    page = from_markdown("| a |\n| --- |\n| 36.9 [31.8, 42.0]† |\n\nNot [1, 2].")

    assert "<td>36.9 [31.8,&nbsp;42.0]†</td>" in page
    assert "[1, 2]" in page


def test_every_page_says_that_look_alikes_are_synthetic(drawn):
    for page in built(drawn).glob("*.html"):
        assert "<strong>Synthetic.</strong>" in page.read_text()


def test_a_report_on_real_data_does_not_say_so(drawn):
    for path in (drawn / "figures").glob("*.json"):
        path.write_text(json.dumps({"caption": "Main.", "origins": []}))

    assert "<strong>Synthetic.</strong>" not in (built(drawn) / "index.html").read_text()


def test_a_notebook_that_was_not_executed_is_named_with_the_remedy(drawn):
    notebook(drawn / "notebooks" / "02_more.ipynb")
    with pytest.raises(FedbenchError, match=r"02_more\.ipynb .* make figures PROFILE=tiny"):
        built(drawn)


def test_a_folder_without_figures_is_named_with_the_remedy(drawn, tmp_path):
    with pytest.raises(FedbenchError, match="run make figures PROFILE=tiny"):
        build_site("tiny", tmp_path / "empty", drawn / "notebooks")


def test_a_link_of_a_notebook_that_leads_nowhere_is_refused(drawn):
    notebook(home() / "notebooks" / "tiny" / "01_page.ipynb", "# A\n\n[there](nowhere.html)")
    with pytest.raises(FedbenchError, match=r"01_page\.html: nowhere\.html"):
        built(drawn)


def test_a_link_to_a_place_in_a_page_needs_that_place(tmp_path):
    (tmp_path / "a.html").write_text('<p id="x"><a href="b.html#y">1</a><a href="#x">2</a>')
    (tmp_path / "b.html").write_text('<a href="a.html#x">3</a>')

    assert broken_links(tmp_path) == ["a.html: b.html#y"]


def test_claims_are_shown_as_make_verify_wrote_them(runs, tmp_path, monkeypatch):
    path = tmp_path / "claims.json"
    assert "make verify PROFILE=tiny" in claims_section(path, "tiny")

    monkeypatch.setattr(grid, "found", lambda profile: runs)
    monkeypatch.setattr(grid, "planned", lambda profile: [run.config for run in runs])
    monkeypatch.setattr(verify, "RECORDED", tmp_path / "verdicts.json")
    verify.verify("tiny", tmp_path)
    said, told = claims_section(path, "tiny"), json.loads(path.read_text())
    for claim in told["claims"].values():
        assert claim["sentence"] in html.unescape(said)
    for part in told["parts"]:
        assert f"<strong>{part['verdict']}</strong>" in said
        for cell in part["cells"]:
            if cell["mean"] is not None and cell["metric"].startswith("accuracy"):
                assert f"{cell['contrast']} = {points(cell['mean'])} [" in html.unescape(said)
    assert "(synthetic)" in said
    assert all(name in said for name in told["checks"])


def test_the_same_origin_is_shown_once_with_all_its_runs(tmp_path):
    for name, run in (("a", "1"), ("b", "2")):
        origin = {"commit": "c", "runs": {run: {"run": "lora"}}, "inputs": {name: {"data": "hash"}}}
        (tmp_path / f"{name}.json").write_text(json.dumps({"origins": [origin]}))

    assert distinct_origins(tmp_path) == [
        {
            "commit": "c",
            "runs": {"1": {"run": "lora"}, "2": {"run": "lora"}},
            "inputs": {"a": {"data": "hash"}, "b": {"data": "hash"}},
        }
    ]


def test_a_report_is_built_anew_and_keeps_no_page_of_an_older_one(drawn):
    old = built(drawn) / "old.html"
    old.write_text("old")

    assert not (built(drawn) / "old.html").exists()


def test_what_is_saved_is_no_difference_of_the_other_sign():
    """Verdicts keep the share saved: 0.985 of adapter bytes is less, -0.362 of energy is more."""
    cell = {"metric": "adapter_bytes", "contrast": "ia3 − lora"}
    less = cell | {"mean": 0.985, "low": 0.985, "high": 0.985}
    assert site._found(less) == "ia3 against lora: saves +98.5 % [+98.5, +98.5]"
    more = cell | {"metric": "energy", "mean": -0.362, "low": -0.6, "high": -0.1}
    assert site._found(more) == "ia3 against lora: saves -36.2 % [-60.0, -10.0]"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("<script>alert(1)</script>", "<script>"),
        ('<img src="data:image/png;base64,AA==" onerror="alert(1)">', "onerror of <img>"),
        ('<a href=" JavaScript:alert(1)">read me</a>', "javascript:"),
        ('<iframe src="https://example.org"></iframe>', "<iframe>"),
        ('<form action="https://example.org"><input name="x"></form>', "<form>"),
    ],
)
def test_a_title_that_a_browser_would_run_is_refused(tmp_path, words, part):
    from fedbench.report.links import active_parts

    (tmp_path / "index.html").write_text(f"<p>A ward {words}</p>")
    assert any(one.startswith(f"index.html: {part}") for one in active_parts(tmp_path))


def test_a_report_with_a_script_in_a_notebook_is_not_called_finished(drawn):
    notebook(home() / "notebooks" / "tiny" / "01_page.ipynb", "# Page\n\n<script>x()</script>")
    with pytest.raises(FedbenchError, match=r"what a browser would run .*01_page.html: <script>"):
        built(drawn)


def test_every_page_forbids_scripts_and_what_is_elsewhere(drawn):
    folder = built(drawn)
    for page in folder.glob("*.html"):
        assert "default-src 'none'; img-src data:" in page.read_text()
