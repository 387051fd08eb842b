"""What ``python -m fedbench.pretraining`` says when it has to stop."""

import shutil
from pathlib import Path

import pytest

from fedbench.pretraining import __main__ as command
from fedbench.pretraining import prepare
from fedbench.pretraining.__main__ import main

Captured = pytest.CaptureFixture[str]


class Training:
    """Stands for a training process that is interrupted while one waits for it."""

    stopped = False

    def wait(self) -> int:
        raise KeyboardInterrupt

    def terminate(self) -> None:
        self.stopped = True


def test_an_expected_error_is_one_line_and_a_failing_exit(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("error: The pretraining corpus comes from")


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (KeyboardInterrupt(), 130, "Stopped; what was finished stays, and the same"),
        (OSError(28, "No space left on device", "toy"), 1, "error: toy could not be used (No sp"),
        (OSError("odd"), 1, "error: A file could not be used (OSError)"),
    ],
)
def test_a_stop_is_one_line(
    error: BaseException,
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    def stop() -> None:
        raise error

    monkeypatch.setattr(command, "check", stop)
    assert main(["check"]) == status
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1


def test_a_stopped_rebuild_stops_its_trainings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Training] = []

    def start(name: str) -> Training:
        started.append(Training())
        return started[-1]

    monkeypatch.setattr(prepare, "prepare", lambda work: None)
    monkeypatch.setattr(command, "check", lambda: None)
    monkeypatch.setattr(command, "_start_training", start)
    assert main([]) == 130
    assert [training.stopped for training in started] == [True, True]


def test_a_missing_corpus_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "fedbench-llama"]) == 1
    assert capsys.readouterr().err.endswith("corpus.json is missing.\n")
