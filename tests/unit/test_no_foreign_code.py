"""Nothing that a file brings is ever run: read off the code of the package and of the notebooks.

Processes of ours hand one another values with multiprocessing, which pickles them in memory: both
ends are ours, and no file and no payload is read that way.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from fedbench.paths import CHECKOUT, PACKAGE

#: Modules that make objects of bytes, or unpack archives, whose members would need a guard.
MODULES = frozenset(
    """pickle cPickle _pickle cloudpickle dill joblib marshal shelve jsonpickle code codeop runpy
    zipfile tarfile zipimport lzma bz2""".split()
)
CALLS = frozenset(
    """eval exec compile __import__ os.system os.popen os.execv os.execvp os.spawnv
    torch.load torch.jit.load torch.hub.load torch.package.PackageImporter torch.save
    numpy.load np.load numpy.save np.save pandas.read_pickle pd.read_pickle pandas.eval pd.eval
    yaml.unsafe_load yaml.full_load yaml.load_all yaml.unsafe_load_all yaml.full_load_all
    subprocess.getoutput subprocess.getstatusoutput pydoc.locate logging.config.listen""".split()
)
METHODS = frozenset(["read_pickle", "to_pickle", "load_module", "exec_module"])
#: What is done in one place only, and why it may be there.
ONLY_IN = {
    "yaml.load": {"fedbench/limits.py"},  # with the loader that counts references
    "yaml.safe_load": {"fedbench/leakage/subjects.py"},  # of a text in that file
    "json.load": set(),
    "gzip.open": {"fedbench/limits.py", "fedbench/pretraining/corpus_file.py"},  # line by line
    "gzip.decompress": set(),
    # Names of a table there, and what a person asks for on the command line.
    "importlib.import_module": {"fedbench/__init__.py", "fedbench/conformance/subject.py"},
    "import_module": {"fedbench/bench/scale.py"},  # of the modules that it has just listed
}


@lru_cache
def sources() -> dict[str, str]:
    found = {
        str(path.relative_to(CHECKOUT)): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    for path in sorted((CHECKOUT / "notebooks").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found[str(path.relative_to(CHECKOUT))] = "\n".join(code)
    return found


def called(node: ast.expr) -> str:
    """The dotted name of what is called, such as ``torch.load``; ``?.eval`` of what has no name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{called(node.value)}.{node.attr}"
    return "?"


def keywords(call: ast.Call) -> dict[str | None, object]:
    """Keywords and their constants; of what is no constant, the expression."""
    return {
        word.arg: word.value.value if isinstance(word.value, ast.Constant) else word.value
        for word in call.keywords
    }


def offences(name: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            named = [module or "", *(alias.name for alias in node.names)]
            yield from (f"imports {one}" for one in named if one.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            yield from _of_call(name, node)


def _of_call(name: str, call: ast.Call) -> Iterator[str]:
    whole = called(call.func)
    given = keywords(call)
    if whole in CALLS or whole.rpartition(".")[2] in METHODS:
        yield f"calls {whole}"
    if whole in ONLY_IN and name not in ONLY_IN[whole]:
        yield f"calls {whole}"
    if whole == "yaml.load" and called(given.get("Loader", ast.Name("missing"))) != "_Plain":  # type: ignore[arg-type]
        yield "calls yaml.load with a loader that makes objects"
    if given.get("shell", False) is not False or given.get("allow_pickle", False) is not False:
        yield f"{whole} with shell or allow_pickle"
    if whole.startswith("subprocess.") and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
        yield f"{whole} with a line for a shell"
    if given.get("trust_remote_code", False) is not False:
        yield f"{whole} with trust_remote_code"
    # Also where it is not called but handed on, as in partial(Model.from_pretrained, ...).
    for one in (call.func, *call.args[:1]):
        owner, _, last = called(one).rpartition(".")
        if last == "from_pretrained":
            if given.get("trust_remote_code") is not False:
                yield f"{owner}.from_pretrained without trust_remote_code=False"
            if "Model" in owner and given.get("use_safetensors") is not True:
                yield f"{owner}.from_pretrained without use_safetensors=True"


@pytest.mark.parametrize("name", sources())
def test_nothing_runs_or_unpickles_what_a_file_brings(name):
    assert list(offences(name, sources()[name])) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import zipfile",
        "eval('1')",
        "def f():\n    exec(text)",
        "torch.load(path, weights_only=True)",
        "pd.read_pickle(path)",
        "frame.to_pickle(path)",
        "np.load(path)",
        "numpy.lib.format.read_array(f, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text)",
        "yaml.safe_load(text)",
        "json.load(handle)",
        "os.system('ls')",
        "subprocess.run(words, shell=True)",
        "subprocess.run('ls')",
        "subprocess.run(f'ls {folder}')",
        "importlib.import_module(name)",
        "AutoModelForCausalLM.from_pretrained(path, trust_remote_code=False)",
        "AutoModelForCausalLM.from_pretrained(path, use_safetensors=True)",
        "partial(AutoModelForCausalLM.from_pretrained, path, trust_remote_code=False)",
        "AutoTokenizer.from_pretrained(path)",
        "AutoConfig.from_pretrained(path, trust_remote_code=asked)",
        "load_dataset('a/b', trust_remote_code=True)",
    ],
)
def test_what_would_run_a_file_is_found_however_it_is_written(source):
    assert list(offences("fedbench/elsewhere.py", source))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile('a')",
        "subprocess.run(['ls'], check=True)",
        "AutoModel.from_pretrained(p, trust_remote_code=False, use_safetensors=True)",
    ],
)
def test_what_runs_nothing_is_left_alone(source):
    assert list(offences("fedbench/elsewhere.py", source)) == []


def test_the_search_reads_the_whole_package_and_all_notebooks():
    names = list(sources())
    assert len([name for name in names if name.endswith(".py")]) > 300
    assert len([name for name in names if name.endswith(".ipynb")]) > 12


def test_the_package_has_no_file_that_python_would_unpickle():
    kinds = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".npy", ".npz", ".joblib"}
    folders = [PACKAGE, CHECKOUT / "data", CHECKOUT / "figures"]
    found = [path for folder in folders for path in Path(folder).rglob("*") if path.suffix in kinds]
    assert found == []
