"""WordNet's file format, the polarity lexicon and the questions made from them."""

import random
import re
from itertools import islice

import pytest

from fedbench.pretraining.answer_formats import (
    business_news,
    definition_choices,
    limited,
    related_words,
    topics,
)
from fedbench.pretraining.polarity import sense_polarities, toned_sentences
from fedbench.pretraining.statements import Vocabulary, statement
from fedbench.pretraining.wordnet import Synset, parse_synset, sentences

RISE = (
    "00000001 30 v 02 climb 0 go_up 0 001 @ 00000002 v 0000 01 + 02 00 "
    '| go upward; "the price went up"; "it climbs"'
)
FALL = "00000003 30 v 01 drop 0 002 ! 00000001 v 0101 @ 00000004 v 0000 | go down"
INCREASE = "00000002 30 v 01 increase 0 000 | become bigger"
DECREASE = "00000004 30 v 01 decrease 0 000 | become smaller"
COIN = '00000005 06 n 01 coin 0 000 | a piece of metal; "she tossed a coin"'
ROME = "00000006 15 n 01 Rome 0 000 | a city"


@pytest.fixture
def synsets() -> dict[str, Synset]:
    parsed = map(parse_synset, (RISE, FALL, INCREASE, DECREASE, COIN, ROME))
    return {synset.key: synset for synset in parsed}


def test_a_data_line_gives_words_topic_gloss_and_relations() -> None:
    sense = parse_synset(RISE)
    assert sense.words == ("climb", "go up")
    assert (sense.part, sense.topic, sense.definition) == ("v", "change", "go upward")
    assert sense.examples == ("the price went up", "it climbs")
    assert sense.related("hypernym") == ["v00000002"]


def test_a_sense_is_written_as_sentences(synsets: dict[str, Synset]) -> None:
    assert sentences(synsets["v00000001"], synsets) == (
        "climb: go upward. The price went up. It climbs. "
        "Another word for climb is go up. To climb is to increase."
    )


def test_polarity_spreads_from_a_seed_to_its_kinds(synsets: dict[str, Synset]) -> None:
    polarities = sense_polarities(synsets)
    assert polarities["v00000001"] == "positive"
    assert polarities["v00000003"] == "negative"
    assert "n00000005" not in polarities


def test_examples_are_grouped_by_polarity(synsets: dict[str, Synset]) -> None:
    grouped = toned_sentences(synsets)
    assert "it climbs" in grouped["positive"]
    assert grouped["neutral"] == ["she tossed a coin", "Rome: a city"]


def test_the_answer_of_a_definition_question_is_its_word(synsets: dict[str, Synset]) -> None:
    for question in definition_choices(synsets, random.Random(1)):
        answer = question.rsplit("Answer: ", 1)[1]
        assert answer in question.rsplit("Answer: ", 1)[0] or len(question.splitlines()) == 2


def test_an_opposite_is_asked_for_where_there_is_one(synsets: dict[str, Synset]) -> None:
    questions = list(
        related_words({"v00000003": synsets["v00000003"], **synsets}, random.Random(0))
    )
    assert len(questions) == 2  # only two of the toy senses have a relation
    assert all(question.startswith("Question: What ") for question in questions)


def test_a_topic_is_the_lexicographer_file(synsets: dict[str, Synset]) -> None:
    coin = {"n00000005": synsets["n00000005"]}
    question = next(topics(coin, random.Random(1)))
    assert "she tossed a coin" in question
    assert question.endswith("artifact")


@pytest.mark.parametrize("label", ["negative", "neutral", "positive"])
def test_every_statement_is_one_filled_sentence(label: str) -> None:
    vocabulary = Vocabulary(["coin", "rope"], ["Rome", "Oslo"])
    for seed in range(200):
        text = statement(label, vocabulary, random.Random(seed))
        assert text.endswith(".")
        assert text[0].isupper()
        assert not {"{", "}"} & set(text)


def test_a_falling_cost_is_good_and_a_falling_profit_is_bad() -> None:
    vocabulary = Vocabulary(["coin"], ["Rome"])
    expected = {"profit": "negative", "costs": "positive"}
    for measure, label in expected.items():
        texts = [statement(label, vocabulary, random.Random(seed)).lower() for seed in range(2000)]
        moves = {word for text in texts for word in re.findall(rf"\b{measure} (\w+)", text)}
        assert moves & {"fell", "dropped", "sank"}
        assert not moves & {"rose", "grew", "climbed"}


def test_business_news_names_one_of_the_three_labels(synsets: dict[str, Synset]) -> None:
    for text in islice(business_news(synsets, random.Random(3)), 50):
        assert any(label in text.splitlines()[-1] for label in ("negative", "neutral", "positive"))


def test_a_limit_counts_characters() -> None:
    assert list(limited(iter(["abc", "de", "f"]), 5)) == ["abc", "de"]
