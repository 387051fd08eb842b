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


def test_the_caption_of_a_table_is_folded_before_it():
    page = folded_page(f"{LONG}\n\n{TABLE}")
    before, _, after = page.partition(f"<summary>{MORE}</summary>")
    shown, rest = folded(LONG)

    assert shown in before
    assert rest in after
    assert page.endswith(f"</div>\n\n{TABLE}")


def test_a_short_caption_of_a_table_has_nothing_to_open():
    assert (
        folded_page(f"Short.\n\n{TABLE}") == f'<div class="caption">\n\nShort.\n\n</div>\n\n{TABLE}'
    )


def test_text_without_a_table_is_left_as_it_is():
    assert folded_page(f"{LONG}\n\n{LONG}") == f"{LONG}\n\n{LONG}"
