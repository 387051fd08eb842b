from __future__ import annotations

import pytest

from fedbench.report.folding import LONGEST, MORE, folded, folded_page

LIMIT = "The training set is limited to 1,600 of 3,386 examples."
SYNTHETIC = "Look-alike of FPB: synthetic look-alike data, never evidence for the paper's claims."
LONG = " ".join(["Accuracy in %, with 95 % interval.", *[LIMIT] * 8])
TABLE = "| a |\n| --- |\n| b |\n"


def test_a_short_caption_is_shown_whole():
    assert folded("Accuracy. Of two seeds.") == ("Accuracy. Of two seeds.", "")


def test_a_long_caption_shows_its_first_sentences_and_loses_nothing():
    shown, rest = folded(LONG)

    assert shown.startswith("Accuracy in %, with 95 % interval. The training set")
    assert shown.endswith(".")
    assert len(shown) <= LONGEST
    assert f"{shown} {rest}" == LONG


def test_a_first_sentence_of_any_length_is_shown_whole():
    first = "word " * 100 + "end."

    assert folded(f"{first} {LIMIT}") == (first, LIMIT)


@pytest.mark.parametrize("caption", [f"{LONG} {SYNTHETIC} {LIMIT}", f"Sizes. {SYNTHETIC} {LONG}"])
def test_what_is_synthetic_is_said_at_once_wherever_it_stands(caption):
    shown, rest = folded(caption)

    assert SYNTHETIC in shown
    assert "synthetic" not in rest
    assert sorted(f"{shown} {rest}".split()) == sorted(caption.split())


def test_a_remark_on_one_task_does_not_stand_alone_for_those_on_the_others():
    remarks = " ".join(f"{name}: Not comparable with published results." for name in "ABCDEFGH")

    assert folded(f"Accuracy. {remarks}") == ("Accuracy.", remarks)


def test_many_notes_under_a_table_are_folded_but_for_what_is_synthetic():
    notes = [*(f"- {number}. {LIMIT}" for number in range(9)), f"- {SYNTHETIC}"]
    before, _, after = folded_page(f"Main.\n\n{TABLE}\n" + "\n".join([*notes, ""])).partition(
        f"<summary>{MORE}</summary>\n\n"
    )

    assert before.startswith('<div class="caption">\n\nMain.\n\n</div>\n\n| a |')
    assert notes[-1] in before
    assert after.startswith("\n".join(notes[:-1]) + "\n\n</details>")


def test_few_notes_under_a_table_are_shown_whole():
    page = folded_page(f"Main.\n\n{TABLE}\n- {LIMIT}\n")

    assert f"\n\n- {LIMIT}\n\n</div>\n" in page
    assert "<details>" not in page


def test_notes_that_are_all_synthetic_leave_nothing_to_open():
    notes = "\n".join([f"- {SYNTHETIC}"] * 5)

    assert "<details>" not in folded_page(f"Main.\n\n{TABLE}\n{notes}\n")


def test_a_table_without_notes_has_only_its_caption():
    page = folded_page(f"Short.\n\n{TABLE}\n")

    assert page == f'<div class="caption">\n\nShort.\n\n</div>\n\n{TABLE}'


def test_text_without_a_table_is_left_as_it_is():
    assert folded_page(f"{LONG}\n\n{LONG}") == f"{LONG}\n\n{LONG}"
