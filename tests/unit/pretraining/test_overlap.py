"""Names, texts and sentence templates that a corpus shares with a task."""

from pathlib import Path

import pytest

from fedbench.errors import FedbenchError
from fedbench.pretraining.corpus_file import read_documents, write_documents
from fedbench.pretraining.overlap import NameFinder, TextFinder, ngrams, read_corpus
from fedbench.pretraining.templates import TemplateFinder, sentence_templates

SENTENCE = "The quick brown fox jumps over the lazy dog today."


def names_in(document: str, *names: str) -> object:
    """Look for names in one document."""
    finder = NameFinder(names)
    finder.read(document)
    return finder.report()["names_found"]


def texts_in(document: str, *texts: str) -> dict[str, object]:
    """Look for texts in one document."""
    finder = TextFinder(texts)
    finder.read(document)
    return dict(finder.report(texts))


def templates_in(document: str, *templates: str) -> object:
    """Look for templates in one document."""
    finder = TemplateFinder(templates)
    finder.read(document)
    return finder.report()["templates_found"]


def test_a_shared_run_of_eight_words_is_reported() -> None:
    found = texts_in("Yesterday the QUICK brown fox jumps, over the lazy dog!", SENTENCE)
    assert found["ngrams_found"] == [
        "quick brown fox jumps over the lazy dog",
        "the quick brown fox jumps over the lazy",
    ]
    assert found["ngrams_checked"] == 3
    assert found["texts_with_a_found_ngram"] == 1
    assert found["whole_texts_found"] == []


def test_a_whole_text_is_reported() -> None:
    found = texts_in(f"He wrote: {SENTENCE}", SENTENCE)
    assert found["whole_texts_found"] == [SENTENCE.lower().rstrip(".")]


def test_the_runs_of_a_text_in_two_places_are_not_the_whole_text() -> None:
    parts = "The quick brown fox jumps over the lazy cat. " + SENTENCE.removeprefix("The ")
    found = texts_in(parts, SENTENCE)
    assert found["ngrams_checked"] == len(found["ngrams_found"])  # type: ignore[arg-type]
    assert found["whole_texts_found"] == []


def test_seven_shared_words_are_no_overlap() -> None:
    found = texts_in("the quick brown fox jumps over the fence", SENTENCE)
    assert found["ngrams_found"] == []


def test_a_text_without_an_ngram_is_looked_for_as_a_whole() -> None:
    found = texts_in("So the lazy dog sleeps a lot, and the dog sleeps.",
                     "The lazy dog sleeps a lot", "the dog sleeps")  # fmt: skip
    assert found["whole_texts_of_5_to_7_words_found"] == ["the lazy dog sleeps a lot"]
    assert (found["texts_below_8_words"], found["texts_below_5_words"]) == (2, 1)


def test_only_the_texts_asked_for_are_reported() -> None:
    finder = TextFinder([SENTENCE, "one two three four five six seven eight nine"])
    finder.read(SENTENCE)
    other = finder.report(["one two three four five six seven eight nine"])
    assert (other["ngrams_checked"], other["ngrams_found"]) == (2, [])


def test_an_invented_name_is_found_as_a_whole_word_only() -> None:
    assert names_in("Zorblat fell.", "zorblat", "orbla") == ["zorblat"]


def test_a_name_of_two_words_is_found_in_order() -> None:
    assert names_in("the Quorn Vale mill", "Quorn Vale") == ["quorn vale"]
    assert names_in("the Quorn Vale mill", "Vale Quorn") == []


def test_a_template_is_found_with_one_or_two_words_in_its_slot() -> None:
    asked = "Which drug treats {}?"
    assert templates_in("Say: which drug treats gout? No.", asked) == {asked: 1}
    assert templates_in("which drug treats yellow fever?", asked) == {asked: 1}
    assert templates_in("Which drug treats a very bad cold?", asked) == {}
    assert templates_in("Which drug treats?", asked) == {}


def test_a_slot_at_the_edge_is_at_the_edge_of_a_sentence() -> None:
    frame = "{} {} this year ."
    assert templates_in("Well. Sales fell this year.", frame) == {frame: 1}
    assert templates_in("We know that the sales fell this year.", frame) == {}


def test_a_template_of_two_sentences_and_commas_is_found() -> None:
    frame, wording = "{} {} , the board said .", "A patient has {}. Which drug helps?"
    text = "Oslo Bank fell, the board said. A patient has gout. Which drug helps?"
    assert templates_in(text, frame, wording) == {frame: 1, wording: 1}


@pytest.mark.parametrize("template", sentence_templates())
def test_every_template_of_the_lookalikes_can_be_found(template: str) -> None:
    filled = template.replace("{}", "zorblat")
    assert templates_in(f"Before it. {filled} After it.", template) == {template: 1}


def test_the_templates_hold_those_of_both_families_and_for_two_companies() -> None:
    told = sentence_templates()
    assert "Which thing on earth causes {}?" in told
    assert "Orders of {} {} this month ." in told
    assert "Orders of {} {} this month while {} {} ." in told


def test_a_text_shorter_than_the_run_has_no_ngrams() -> None:
    assert list(ngrams("one two three")) == []


def test_the_kept_corpus_file_is_what_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt.gz"
    write_documents(path, ["First\nof two.", SENTENCE])
    assert list(read_documents(path)) == ["First\nof two.", SENTENCE]
    finder = NameFinder(["fox"])
    read_corpus(path, [finder])
    assert finder.report()["names_found"] == ["fox"]


def test_a_damaged_corpus_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt.gz"
    write_documents(path, [SENTENCE])
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(FedbenchError, match="missing or damaged"):
        list(read_documents(path))


def test_the_same_documents_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_documents(tmp_path / name, [SENTENCE])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
