"""The overlap check between a corpus and the texts of a task."""

from pathlib import Path

from fedbench.pretraining.corpus_file import read_documents, write_documents
from fedbench.pretraining.overlap import check_corpus, find_overlap, ngrams

SENTENCE = "The quick brown fox jumps over the lazy dog today."


def test_a_shared_run_of_eight_words_is_reported() -> None:
    documents = ["Yesterday the QUICK brown fox jumps, over the lazy dog!"]
    found = find_overlap(documents, [SENTENCE], [])
    assert found.shared_ngrams == (
        "quick brown fox jumps over the lazy dog",
        "the quick brown fox jumps over the lazy",
    )
    assert found.ngrams_checked == 3


def test_seven_shared_words_are_no_overlap() -> None:
    found = find_overlap(["the quick brown fox jumps over the fence"], [SENTENCE], [])
    assert found.shared_ngrams == ()


def test_an_invented_name_is_found_as_a_whole_word_only() -> None:
    found = find_overlap(["Zorblat fell."], [], ["zorblat", "orbla"])
    assert found.shared_names == ("zorblat",)
    assert found.names_checked == 2


def test_a_name_of_two_words_is_found_in_order() -> None:
    documents = ["the Quorn Vale mill"]
    assert find_overlap(documents, [], ["Quorn Vale"]).shared_names == ("quorn vale",)
    assert find_overlap(documents, [], ["Vale Quorn"]).shared_names == ()


def test_a_text_shorter_than_the_run_has_no_ngrams() -> None:
    assert list(ngrams("one two three")) == []


def test_the_kept_corpus_file_is_what_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt.gz"
    write_documents(path, ["First\nof two.", SENTENCE])
    assert list(read_documents(path)) == ["First\nof two.", SENTENCE]
    assert check_corpus(path, [SENTENCE], ["fox"]).shared_names == ("fox",)


def test_the_same_documents_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_documents(tmp_path / name, [SENTENCE])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
