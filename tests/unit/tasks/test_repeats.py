"""Near-repeats: what is found is what comparing everything with everything finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.tasks import load_task
from fedbench.tasks.repeats import near_pairs, near_repeats, shingles, similarity

WORDS = st.lists(
    st.sampled_from("profit loss rose fell again today".split()), min_size=1, max_size=7
)
TEXTS = st.lists(WORDS.map(" ".join), max_size=12)


def by_brute_force(texts, of, threshold):
    found = {}
    for place, text in enumerate(texts):
        scored = [(similarity(shingles(text), shingles(other)), -i) for i, other in enumerate(of)]
        if scored and max(scored)[0] >= threshold:
            found[place] = -max(scored)[1]
    return found


@given(TEXTS, TEXTS, st.sampled_from([0.5, 0.6, 2 / 3, 0.8, 0.9, 1.0]))
def test_candidates_lose_nothing_against_brute_force(texts, of, threshold):
    assert near_repeats(texts, of, threshold) == by_brute_force(texts, of, threshold)


@given(TEXTS, st.sampled_from([0.5, 0.8, 1.0]))
def test_pairs_are_those_of_brute_force(texts, threshold):
    sets = [shingles(text) for text in texts]
    expected = [
        (i, j)
        for j in range(len(texts))
        for i in range(j)
        if similarity(sets[i], sets[j]) >= threshold
    ]
    assert near_pairs(texts, threshold) == expected


def test_case_and_punctuation_do_not_hide_a_repeat():
    assert near_repeats(
        ["Incomplete casting is the result of:"], ["incomplete casting is the result of"]
    ) == {0: 0}


def test_a_paraphrase_with_one_word_more_is_found_and_another_figure_is_not():
    test = "The company said on Monday that net sales of the first quarter rose by 12 per cent"
    longer = f"{test} again"
    figure = "Net sales rose 5 per cent"
    assert near_repeats([longer, figure], [test, "Net sales fell 7 per cent"]) == {0: 0}


def test_a_single_word_repeats_itself_only():
    assert near_repeats(["Yes", "No"], ["no"]) == {1: 0}


@pytest.fixture
def leaking(tmp_path):
    """A task of two files whose training data say one test sentence again, with a word more."""
    lines = "\n".join(
        f"story {i} about {'rain' if i % 2 else 'sun'} number {i * 7},{'ab'[i % 2]}"
        for i in range(40)
    )
    said = "the board of the company met on a cold Monday in May and then it went home"
    (tmp_path / "train.csv").write_text(f"text,label\n{lines}\n{said} again,a\n")
    (tmp_path / "test.csv").write_text(f"text,label\n{said},a\nnothing else of note,b\n")

    def of(choice):
        spec = (
            'name: mine\ntitle: Mine\ndomain: d\nprompt: "{text}\\nLabel:"\nlabels: [a, b]\n'
            "answer: {field: label}\nlayouts:\n"
            f"  - files: {{train: train.csv, test: test.csv}}\n{choice}"
        )
        path = tmp_path / "mine.yml"
        path.write_text(spec)
        return str(path)

    return of


def test_a_leak_refuses_the_task_and_names_both_rows(leaking):
    with pytest.raises(
        FedbenchError, match=r"nearly repeat a test item .1 of them.*near_repeats: drop"
    ):
        load_task(leaking(""))


def test_a_leak_is_left_out_where_the_task_says_so(leaking):
    task = load_task(leaking("near_repeats: drop\n"))
    assert task.audit["near_repeats"] == 1
    assert not any("Monday" in e.prompt for e in task.examples if e.split != "test")


def test_a_leak_that_is_kept_is_marked(leaking):
    task = load_task(leaking("near_repeats: keep\n"))
    assert any("Monday" in e.prompt for e in task.examples if e.split != "test")
    assert "nearly repeat a test item and were kept" in task.note
