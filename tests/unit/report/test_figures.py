from __future__ import annotations

import json

import pytest
from matplotlib.text import Text

from fedbench import report
from fedbench.report import style

DRAWN = {
    "main": (report.main_results, report.main_figure),
    "composition": (report.composition, report.composition_figure),
    "convergence": (report.convergence, report.convergence_figure),
    "resources": (report.resources, report.resources_figure),
}


def words_of(figure):
    figure.draw_without_rendering()
    found = figure.findobj(Text)
    return [(artist.get_text(), artist.get_fontsize()) for artist in found if artist.get_visible()]


@pytest.fixture(scope="module", params=DRAWN)
def drawn(request, runs, tmp_path_factory):
    """A figure, its numbers, its name, and the folder that it was saved in."""
    name = request.param
    numbers, draw = DRAWN[name]
    frame, folder = numbers(runs), tmp_path_factory.mktemp("figures")
    figure = draw(frame)
    report.save_figure(figure, frame, name, folder, runs)
    return figure, frame, name, folder


def test_a_figure_is_saved_with_its_numbers_and_its_runs(drawn):
    _, _, name, folder = drawn

    report.check_written(folder, [name], report.FIGURE)
    assert json.loads((folder / f"{name}.json").read_text())["origins"][0]["runs"]


def test_the_same_numbers_give_the_same_files(drawn, runs, tmp_path):
    _, frame, name, folder = drawn
    report.save_figure(DRAWN[name][1](frame), frame, name, tmp_path, runs)

    for kind in report.FIGURE:
        file = f"{name}.{kind}"
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


def test_a_figure_is_one_column_wide_and_its_words_are_readable(drawn):
    assert drawn[0].get_figwidth() == style.WIDTH
    assert min(size for text, size in words_of(drawn[0]) if text) >= 7


def test_a_figure_of_generated_tasks_says_so_on_its_face(runs, tmp_path):
    made = [run for run in runs if run.metrics["synthetic"]]
    frame = report.composition(made)
    figure = report.composition_figure(frame)
    report.save_figure(figure, frame, "composition", tmp_path, made)

    assert "synthetic look-alike tasks" in [text for text, _ in words_of(figure)]


def test_a_figure_of_real_tasks_does_not(runs, tmp_path):
    real = [run for run in runs if not run.metrics["synthetic"]]
    frame = report.composition(real)
    figure = report.composition_figure(frame)
    report.save_figure(figure, frame, "composition", tmp_path, real)

    assert not any("synthetic" in text for text, _ in words_of(figure))


def test_settings_differ_in_marker_and_dash_as_well_as_colour():
    for trait in ("color", "marker", "dash"):
        assert len({getattr(look, trait) for look in style.LOOKS.values()}) == len(style.LOOKS)


def test_a_setting_that_was_not_run_is_named_in_the_main_figure(save, config):
    planned = [config(setting) for setting in ("base", "local", "federated", "centralized")]
    frame = report.main_results([save(planned[0]), save(planned[2])], planned)
    said = [text for text, _ in words_of(report.main_figure(frame))]

    assert "not run: local, centralized" in said
    assert not any("not run" in text and "base" in text for text in said)


def test_a_task_of_which_nothing_was_run_is_named_in_the_main_figure(save, config):
    planned = [config("base"), config("base", task="lookalike_medqa")]
    said = [
        text for text, _ in words_of(report.main_figure(
            report.main_results([save(planned[0])], planned)))
    ]  # fmt: skip

    assert "lookalike_medqa" in said
    assert said.count("not run: base") == 1


def test_a_curve_that_was_not_run_is_named_in_its_panel(save, config):
    frame = report.convergence([save(config("federated")), save(config("centralized"))])
    said = [text for text, _ in words_of(report.convergence_figure(frame))]

    assert "not run: local" in said


@pytest.mark.parametrize("name", ["composition", "convergence", "resources"])
def test_a_figure_without_runs_says_so(save, config, name):
    numbers, draw = DRAWN[name]
    said = [text for text, _ in words_of(draw(numbers([save(config("base"))])))]

    assert "not run" in said


@pytest.mark.parametrize(
    "reason", ["the data of fpb have changed", "the backbone fedbench-llama has changed"]
)
def test_a_figure_says_on_its_face_what_has_moved(save, config, tmp_path, monkeypatch, reason):
    monkeypatch.setattr("fedbench.report.origin._known", {})
    monkeypatch.setattr("fedbench.report.origin.moved", lambda run: reason)
    run = save(config("federated"))
    frame = report.composition([run])
    figure = report.composition_figure(frame)
    report.save_figure(figure, frame, "composition", tmp_path, [run])

    assert reason in [text for text, _ in words_of(figure)]


def test_many_topics_are_counted_rather_than_named(save, config):
    run = save(config("federated"))
    topics = {f"subject {number}": 3 for number in range(21)}
    object.__setattr__(run, "sites", [{**site, "topics": topics} for site in run.sites])

    assert "21 topics" in [text for text, _ in words_of(report.composition_figure(
        report.composition([run])))]  # fmt: skip


def test_a_site_too_small_to_train_is_starred(save, config, too_small):
    run = too_small(save(config("federated")), "site-00")
    labels = [text for text, _ in words_of(report.composition_figure(report.composition([run])))]

    assert [label for label in labels if label.startswith("00*")]
    assert not [label for label in labels if label.startswith("01*")]
