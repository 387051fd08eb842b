"""Tokens and passwords are in nothing that is said, raised or kept."""

from __future__ import annotations

import logging
import pickle
from contextlib import nullcontext

import pytest

from fedbench import cli, grid, provenance
from fedbench.errors import FedbenchError, traced
from fedbench.models.backbones import locate
from fedbench.redaction import without_secrets
from fedbench.wire import BadPayload

TOKEN = "hf_" + "Kq7ZxW2mVb9RtLp4"
OTHER = "s3cr3t-0f-somebody"


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A token that the hub's client keeps, unlike what a token looks like."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "token").write_text("kept-in-a-file-1234\n")
    (tmp_path / "hub" / "stored_tokens").write_text("[mine]\nhf_token = named-in-a-list-99\n")
    return "kept-in-a-file-1234", "named-in-a-list-99"


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN", "AWS_SECRET", "X_API_KEY"]
)
def test_values_of_variables_that_are_named_like_secrets_are_left_out(monkeypatch, name):
    monkeypatch.setenv(name, OTHER)
    assert without_secrets(f"could not log in with {OTHER}.") == "could not log in with [secret]."


def test_tokens_that_the_client_of_the_hub_keeps_are_left_out(stored):
    assert without_secrets("Bad: " + " ".join(stored)) == "Bad: [secret] [secret]"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"401 for {TOKEN}", "401 for [secret]"),
        (f"https://me:{OTHER}@huggingface.co/a/b", "https://[secret]@huggingface.co/a/b"),
        (f"https://{OTHER}@huggingface.co", "https://[secret]@huggingface.co"),
        (f"Authorization: Bearer {OTHER}", "Authorization: Bearer [secret]"),
        (f"run --hub-token {OTHER} --seed 1", "run --hub-token [secret] --seed 1"),
        (f"run --password={OTHER}", "run --password=[secret]"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(text, left):
    assert without_secrets(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "run --max-tokens 128 --backbone hf/model --task medqa",
        "https://huggingface.co/a/b@0123456789abcdef",
        "TOKENIZERS_PARALLELISM=false, 1,234,567 tokens in 12 s",
        "owner/name@main, me@example.org",
    ],
)
def test_what_is_no_secret_stays(monkeypatch, text):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("SHORT_TOKEN", "main")
    assert without_secrets(text) == text


@pytest.mark.parametrize("kind", [FedbenchError, BadPayload])
def test_no_error_of_ours_tells_a_secret_and_it_reaches_another_process_as_it_is(kind):
    error = pickle.loads(pickle.dumps(kind(f"The hub refused {TOKEN}: log in.")))
    assert str(error) == "The hub refused [secret]: log in."
    assert error.args == ("The hub refused [secret]: log in.",)


def test_the_command_that_is_kept_with_a_run_has_no_token(monkeypatch):
    words = [
        "fedbench",
        "run",
        "--token",
        OTHER,
        "--task",
        "fpb",
        f"--backbone=https://u:{TOKEN}@h/x",
    ]
    monkeypatch.setattr("sys.argv", words)
    told = provenance.provenance("code")["command"]
    assert OTHER not in told
    assert TOKEN not in told
    assert "--task fpb" in told


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--task", "fpb", "--token", TOKEN],
        ["run", "--task", "fpb", f"--hf_token={TOKEN}"],
        ["run", TOKEN],
        ["list", "--token", TOKEN],
        ["show", TOKEN],
        ["run", "--task", f"https://me:{TOKEN}@huggingface.co/a.yml"],
        ["run", "--task", "lookalike_fpb", "--backbone", f"https://me:{TOKEN}@huggingface.co/a/b"],
        ["run", "--task", "lookalike_fpb", "--backbone", "nobody/nothing"],
    ],
)
def test_no_command_says_a_token(monkeypatch, capsys, caplog, words):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SystemExit) if words[0] == "list" else nullcontext():
        assert cli.main(words) == 2
    told = "".join(capsys.readouterr()) + caplog.text
    assert told
    assert TOKEN not in told


def test_what_the_client_of_the_hub_raises_is_not_quoted(monkeypatch, describe_hub):
    def refuse(*args, **kwargs):
        raise OSError(f"401 Client Error for url https://hf.co with token {OTHER} and {TOKEN}")

    monkeypatch.setenv("HF_TOKEN", OTHER)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(FedbenchError) as caught:
        locate("owner/name-that-nobody-has")
    assert "OSError" in str(caught.value)
    assert OTHER not in str(caught.value)
    monkeypatch.setattr("datasets.load_dataset", refuse)
    from fedbench.tasks import load_task

    with pytest.raises(FedbenchError) as caught:
        load_task(describe_hub)
    assert "401 Client Error" in str(caught.value)
    assert OTHER not in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.fixture
def describe_hub(tmp_path):
    path = tmp_path / "task.yml"
    path.write_text(
        'name: far\ntitle: Far\ndomain: x\nprompt: "{text}\\nTopic:"\nlabels: [a, b]\n'
        f"answer: {{field: y}}\nhub: {{id: a/b, revision: {'f' * 40}, splits: {{all: train}}}}\n"
    )
    return str(path)


def defect(text):
    try:
        raise KeyError(text)
    except KeyError as error:
        raise ValueError(f"no {text}") from error


def test_a_defect_is_told_by_lines_and_types_and_not_by_its_message():
    private = "a patient's history"
    with pytest.raises(ValueError, match="no a patient") as caught:
        defect(private)
    told = traced(caught.value)
    assert private not in told
    assert told.count("Traceback (most recent call last):") == 2
    assert "in defect" in told
    assert told.endswith("KeyError\n")
    assert "ValueError\n" in told


def test_a_defect_on_the_command_line_ends_with_3_and_quotes_nothing(monkeypatch, capsys):
    monkeypatch.setattr("fedbench.commands.list_runs", lambda known, extra: defect(OTHER))
    assert cli.main(["list"]) == 3
    told = capsys.readouterr().err
    assert OTHER not in told
    assert "this is a defect of fedbench (ValueError): please report it" in told


def test_a_defect_of_a_worker_is_told_without_its_message(monkeypatch):
    import multiprocessing

    from fedbench import store
    from fedbench.config import RunConfig

    monkeypatch.setattr("fedbench.running.run", lambda config, report, wait: defect(OTHER))
    monkeypatch.setattr(grid, "_done", multiprocessing.get_context("spawn").Value("d", 0.0))
    config = RunConfig(task="toy", compute="plain")
    with pytest.raises(FedbenchError) as caught:
        grid._one(config)
    written = (store.folder(config.id) / "error.txt").read_text()
    assert "in defect" in written
    assert OTHER not in written + str(caught.value)
