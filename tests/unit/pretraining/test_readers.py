"""Reading packages into paragraphs and keeping the English prose among them."""

import gzip
from pathlib import Path

from fedbench.pretraining.prose import is_english_prose, normalise, prose_documents
from fedbench.pretraining.readers import markup_paragraphs, read_dictionary, read_plain

PROSE = "The account is closed at the end of the month."


def test_code_and_page_furniture_are_left_out_of_a_page() -> None:
    page = f"<nav><p>Home</p></nav><p>{PROSE}</p><pre>x = 1</pre><script>go()</script>"
    assert markup_paragraphs(page) == [PROSE]


def test_inline_tags_do_not_break_a_paragraph() -> None:
    assert markup_paragraphs("<para>A <b>net</b> loss</para>") == ["A net loss"]


def test_an_empty_code_tag_does_not_silence_the_rest() -> None:
    assert markup_paragraphs("<screen/><p>Text goes on.</p>") == ["Text goes on."]


def test_a_dictionary_entry_loses_links_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "toy.dict.dz"
    path.write_bytes(
        gzip.compress(b"Coin \\Coin\\, n.\n   A piece of {metal}.\n\nDebt\n   Owed.\n")
    )
    pages = [" ".join(page[0].split()) for page in read_dictionary([path])]
    assert pages == ["Coin , n. A piece of metal.", "Debt Owed."]


def test_an_info_file_loses_its_node_headers(tmp_path: Path) -> None:
    path = tmp_path / "toy.info"
    path.write_text("One.\n\x1f\nFile: toy.info,  Node: Next,  Prev: Top\nTwo.\n", encoding="utf-8")
    assert [text.strip() for text in next(read_plain([path]))] == ["One.", "Two."]


def test_english_prose_is_kept() -> None:
    assert is_english_prose(PROSE)


def test_code_other_languages_and_fragments_are_dropped() -> None:
    assert not is_english_prose("if (x == 0) { return y[3] + z->next; } /* 12 */")
    assert not is_english_prose("Das Konto wird am Ende des Monats geschlossen und gedruckt.")
    assert not is_english_prose("See also")


def test_typographic_characters_and_entities_become_plain() -> None:
    assert (
        normalise("\u201cnet\u00a0loss\u201d \u2013\n  &app; it\u2019s") == '"net loss" - app it\'s'
    )


def test_a_paragraph_is_kept_once_across_pages() -> None:
    assert list(prose_documents([[PROSE, PROSE], [PROSE.upper()]])) == [PROSE]
