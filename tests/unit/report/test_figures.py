from __future__ import annotations

import json
from itertools import combinations

import pandas as pd
import pytest
from matplotlib.text import Text

from fedbench import report
from fedbench.report import style

DRAWN = {
    "main": (report.main_results, report.main_figure, report.main_caption),
    "composition": (report.composition, report.composition_figure, report.composition_caption),
    "convergence": (report.convergence, report.convergence_figure, report.convergence_caption),
    "resources": (report.resources, report.resources_figure, report.resources_caption),
}


def words_of(figure):
    figure.draw_without_rendering()
    found = figure.findobj(Text)
    return [(artist.get_text(), artist.get_fontsize()) for artist in found if artist.get_visible()]


@pytest.fixture(scope="module", params=DRAWN)
def drawn(request, runs, tmp_path_factory):
    """A figure, its numbers, its name, and the folder that it was saved in."""
    name = request.param
    numbers, draw, caption = DRAWN[name]
    frame, folder = numbers(runs), tmp_path_factory.mktemp("figures")
    figure = draw(frame)
    report.save_figure(figure, frame, name, folder, runs, caption(frame))
    return figure, frame, name, folder


def test_a_figure_is_saved_with_its_numbers_and_its_runs(drawn):
    _, _, name, folder = drawn

    report.check_written(folder, [name], report.FIGURE)
    assert json.loads((folder / f"{name}.json").read_text())["origins"][0]["runs"]


def test_the_same_numbers_give_the_same_files(drawn, runs, tmp_path):
    _, frame, name, folder = drawn
    _, draw, caption = DRAWN[name]
    report.save_figure(draw(frame), frame, name, tmp_path, runs, caption(frame))

    for kind in report.FIGURE:
        file = f"{name}.{kind}"
        assert (tmp_path / file).read_bytes() == (folder / file).read_bytes()


def test_a_figure_is_one_column_wide_and_its_words_are_readable(drawn):
    assert drawn[0].get_figwidth() == style.WIDTH
    assert min(size for text, size in words_of(drawn[0]) if text) >= 8


SAID = {
    "main": ["mean over 1 to 3 seeds", "95 % interval", "item clusters", "120 test items", "80 %"],
    "composition": ["seed 0", "one of 4 sites", "without uncertainty"],
    "convergence": ["4 rounds", "mean over 3 seeds", "t over seeds", "80 validation examples"],
    "resources": ["1 pair of backbone and method", "without uncertainty"],
}


def test_a_caption_says_what_is_drawn_how_sure_it_is_and_of_how_many(drawn):
    _, _, name, folder = drawn
    caption = json.loads((folder / f"{name}.json").read_text())["caption"]

    assert [words for words in SAID[name] if words not in caption.replace("Mean", "mean")] == []
    assert "never evidence for the paper's claims" in caption


@pytest.mark.parametrize("name", DRAWN)
def test_the_caption_of_nothing_says_not_run(config, name):
    numbers, _, caption = DRAWN[name]
    frame = numbers([], [config("base")]) if name == "main" else numbers([])

    assert caption(frame).endswith(": not run.")


def test_a_figure_of_generated_tasks_says_so_on_its_face(runs, tmp_path):
    made = [run for run in runs if run.metrics["synthetic"]]
    frame = report.composition(made)
    figure = report.composition_figure(frame)
    report.save_figure(figure, frame, "composition", tmp_path, made, "Who.")

    assert "synthetic look-alike tasks" in [text for text, _ in words_of(figure)]


def test_a_figure_of_real_tasks_does_not(runs, tmp_path):
    real = [run for run in runs if not run.metrics["synthetic"]]
    frame = report.composition(real)
    figure = report.composition_figure(frame)
    report.save_figure(figure, frame, "composition", tmp_path, real, "Who.")

    assert not any("synthetic" in text for text, _ in words_of(figure))


def test_settings_differ_in_marker_and_dash_as_well_as_colour():
    for trait in ("color", "marker", "dash"):
        assert len({getattr(look, trait) for look in style.LOOKS.values()}) == len(style.LOOKS)


def test_the_circles_of_the_main_figure_are_explained_in_its_legend(runs):
    (legend,) = report.main_figure(report.main_results(runs)).legends
    assert "one seed" in [text.get_text() for text in legend.get_texts()]


def test_a_setting_that_was_not_run_is_named_in_the_main_figure(save, config):
    planned = [config(setting) for setting in ("base", "local", "federated", "centralized")]
    frame = report.main_results([save(planned[0]), save(planned[2])], planned)
    said = [text for text, _ in words_of(report.main_figure(frame))]

    assert "not run: local" in said
    assert "not run: centralized" in said
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
    numbers, draw, _ = DRAWN[name]
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
    report.save_figure(figure, frame, "composition", tmp_path, [run], "Who.")

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


def reaches_over(figure):
    """By how many inches what is drawn reaches over the edges of the figure."""
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return max(-drawn.x0, -drawn.y0, drawn.x1 - width, drawn.y1 - height, 0)


def overlapping(figure):
    """Pairs of the figure's own words (title, labels, face) that stand upon each other."""
    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in figure.texts}
    return [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])]


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("tasks", [1, 2])
def test_words_stay_within_the_figure_and_apart(runs, name, tasks, tmp_path, monkeypatch):
    monkeypatch.setattr("fedbench.report.figures.face", lambda runs: "What must be said. " * 15)
    few = [run for run in runs if tasks == 2 or run.config.task == "fpb"]
    numbers, draw, caption = DRAWN[name]
    frame = numbers(few)
    figure = draw(frame)
    report.save_figure(figure, frame, name, tmp_path, few, caption(frame))

    assert reaches_over(figure) < 0.01
    assert overlapping(figure) == []


def test_no_title_of_a_composition_is_cut_at_an_edge(runs):
    frame = report.composition(runs).assign(task_title="Look-alike of MedMCQA", synthetic=True)

    assert reaches_over(report.composition_figure(frame)) < 0.01


def test_the_darkest_field_of_a_composition_is_its_greatest_share(runs):
    frame = report.composition(runs)
    figure = report.composition_figure(frame)
    totals = frame.groupby(["task", "partition", "site"])["examples"].transform("sum")
    (tops,) = {image.get_clim()[1] for ax in figure.axes for image in ax.images}

    assert tops == pytest.approx(100 * (frame["examples"] / totals).max())


def test_a_site_is_explained_beside_the_composition(runs):
    said = [text for text, _ in words_of(report.composition_figure(report.composition(runs)))]

    assert "site, and n = its training examples" in said


def test_local_curves_are_told_apart_because_their_data_are_their_own(runs):
    figure = report.convergence_figure(report.convergence(runs))
    said = [text for text, _ in words_of(figure)]
    by_marker = {line.get_marker(): line for line in figure.axes[0].lines}

    assert "local (own site's data)" in said
    assert any(text.startswith("validation accuracy, each on its own data (%)") for text in said)
    assert by_marker[style.LOOKS["local"].marker].get_markerfacecolor() == "white"
    assert by_marker[style.LOOKS["federated"].marker].get_markerfacecolor() != "white"


def test_many_tasks_and_sites_fit_a_page(runs):
    frame = report.composition(runs)
    many = pd.concat([frame.assign(task=f"task {number}") for number in range(9)])

    assert report.composition_figure(many).get_figheight() <= style.TALLEST
