"""The fingerprint of code: blind to comments and layout, not to meaning."""

from __future__ import annotations

import pytest

from fedbench import provenance as module
from fedbench.config import RunConfig
from fedbench.freshness import code_of, code_of_all
from fedbench.provenance import fingerprint, provenance
from fedbench.resolving import resolve

SOURCES = {
    "__init__.py": "",
    "root.py": (
        '"""A module."""\nfrom fedbench.near import value\nimport fedbench.beside\n\n\n'
        'def f(x):\n    """Docs."""\n    return value + x\n'
    ),
    "near.py": "from fedbench.pack import far\n\nvalue = far  # a comment\n",
    "pack/__init__.py": "from fedbench.pack.inner import far\n",
    "pack/inner.py": "far = 1\n",
    "beside.py": "late = 1\n",
    "unrelated.py": "x = 1\n",
    "store.py": "x = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A toy package; returns a function that changes a file and gives the new fingerprint."""
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def change(name=None, old="", new="", also=()):
        if name:
            text = (tmp_path / name).read_text()
            assert old in text
            (tmp_path / name).write_text(text.replace(old, new))
        fingerprint.cache_clear()
        return fingerprint("fedbench.root", *also)

    yield change
    fingerprint.cache_clear()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("near.py", "# a comment", "# another, longer comment"),
        ("root.py", "A module.", "A module of another name."),
        ("root.py", '"""Docs."""', '"""More\n    than one line."""'),
        ("root.py", "value + x", "(\n        value\n        + x\n    )"),
        ("unrelated.py", "x = 1", "x = 2"),
    ],
)
def test_comments_docstrings_layout_and_other_modules_do_not_count(package, name, old, new):
    assert package() == package(name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("root.py", "value + x", "value - x"),
        ("root.py", "def f(x)", "def f(x=0)"),
        ("near.py", "value = far", "value = -far"),
        ("pack/inner.py", "far = 1", "far = 1.0"),
        ("pack/__init__.py", "far\n", "far\nfar += 1\n"),
        ("beside.py", "late = 1", "late = None"),
        ("root.py", "value + x", "value + x or 'text'"),
    ],
)
def test_a_change_of_meaning_counts_in_whatever_is_imported_directly_or_not(
    package, name, old, new
):
    assert package() != package(name, old, new)


def test_late_imports_count(package):
    before = package(
        "root.py", "return value + x", "from fedbench.unrelated import x as y\n    return y"
    )
    assert package("unrelated.py", "x = 1", "x = 2") != before


def test_modules_that_only_keep_results_do_not_count(package):
    before = package("root.py", "import fedbench.beside", "import fedbench.store")
    assert package("store.py", "x = 1", "x = 2") == before


def test_what_a_registry_lists_counts_only_where_it_was_chosen(package, monkeypatch):
    monkeypatch.setattr(module, "_REGISTRIES", frozenset({"fedbench.pack"}))
    more = ("pack/__init__.py", "import far", "import far, farther")
    assert package() == package(*more)
    chosen = ("fedbench.pack.inner",)
    before = package(also=chosen)
    assert before != package()
    assert before != package("pack/inner.py", "far = 1", "far = 2", also=chosen)


def test_a_run_depends_on_the_rule_method_and_codec_that_it_chose():
    config = resolve(RunConfig(task="lookalike_fpb"))
    assert code_of(config) != code_of(config.model_copy(update={"method": "ia3"}))
    assert code_of(config) == code_of(config.model_copy(update={"seed": 5}))
    assert code_of_all([config, config]) == code_of_all([config])
    assert code_of_all([config]) != code_of(config)


def test_a_docstring_changed_to_code_counts(package):
    assert package() != package("root.py", '"""Docs."""', "print('Docs.')")


def test_the_shape_of_code_leaves_out_what_python_versions_disagree_on():
    """3.12 gave functions type parameters, and 3.13 stopped showing empty lists."""
    import ast

    function = ast.parse("def f(): pass").body[0]
    function.type_params = []
    shown = repr(module._shape(function, []))
    function.__dict__.pop("type_params")
    assert repr(module._shape(function, [])) == shown
    assert "type_params" not in shown


def test_the_real_fingerprint_covers_what_results_depend_on():
    covered = module._closure("fedbench.running")
    chosen = ("rules.fedavg", "wire.codecs.floats", "models.methods.lora", "models.methods.ia3")
    for name in chosen:
        assert f"fedbench.{name}" not in covered, name
    for name in (
        "running", "federation", "site", "train", "evaluate", "tokens", "partition", "prepare",
        "metrics", "forward", "wire", "rules.rule", "models.quantise", "tasks.load",
        "tasks.examples", "summary", "seeding", "streams", "config",
    ):  # fmt: skip
        assert f"fedbench.{name}" in covered, name
    for name in ("cli", "grid", "report", "tuning", "profiles", "store"):
        assert f"fedbench.{name}" not in covered, name


def test_provenance_names_code_versions_and_machine():
    found = provenance("0123")
    assert found["code"] == "0123"
    assert found["versions"]["torch"].startswith("2.")
    assert found["versions"]["python"].count(".") == 2
    assert "cores" in found["hardware"]


def test_the_commit_of_a_repository_around_an_installation_is_not_ours(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    assert provenance("0123")["commit"] == "unknown"
