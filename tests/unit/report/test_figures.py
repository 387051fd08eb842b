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


def test_a_setting_that_was_not_run_leaves_the_figure_whole(save, config):
    frame = report.main_results([save(config("base"))], [config("base"), config("federated")])

    assert report.main_figure(frame).axes


def test_many_topics_are_counted_rather_than_named(save, config):
    run = save(config("federated"))
    topics = {f"subject {number}": 3 for number in range(21)}
    object.__setattr__(run, "sites", [{**site, "topics": topics} for site in run.sites])

    assert "21 topics" in [text for text, _ in words_of(report.composition_figure(
        report.composition([run])))]  # fmt: skip


def test_a_site_too_small_to_train_is_starred(save, config):
    run = save(config("federated"))
    sites = [{**site, "trained": site["site"] != "site-00"} for site in run.sites]
    object.__setattr__(run, "sites", sites)
    labels = [text for text, _ in words_of(report.composition_figure(report.composition([run])))]

    assert [label for label in labels if label.startswith("00*")]
    assert not [label for label in labels if label.startswith("01*")]
