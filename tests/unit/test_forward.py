"""The fast forward gives the logits of a plain one, on every supported architecture."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy

from fedbench.config import RunConfig
from fedbench.evaluate import score
from fedbench.forward import (
    collate,
    collate_branches,
    describe,
    supervised_logits,
    takes_branches,
)
from fedbench.forward.decoder import follows
from fedbench.models.attached import attached
from fedbench.models.tensors import load_tensors, trained_tensors
from fedbench.resolving import resolve
from fedbench.tokens import Tokenised

ARCHITECTURES = ["llama", "qwen2", "qwen3", "mistral", "gemma"]
PLAIN = ["gemma2", "phi"]  #: computed by Hugging Face's own forward, with parts in fp32

EXACT = [(name, torch.float64, 1e-10) for name in ARCHITECTURES]
CLOSE = [(name, torch.float32, 1e-5) for name in (*ARCHITECTURES, *PLAIN)]


#: Ragged: lengths 3 to 12, one to five tokens asked for.
TOKENS = [
    (5, 9, 1),
    (5, 9, 4, 4, 4, 8, 30, 31, 32, 33, 34, 1),
    (100, 200, 300, 50, 60, 70, 1),
]
STARTS = [1, 7, 6]

PROMPTS = [(5, 9, 4, 7), (100, 200, 300, 50, 60, 70, 9, 9, 9), (8,)]
CHOICES = [
    ((11,), (12, 13, 14), (12, 13)),
    ((40, 41, 42, 43, 44), (45,), (46, 47)),
    ((1, 2), (3, 4)),
]


@pytest.fixture(scope="module")
def models(backbones):
    from transformers import AutoModelForCausalLM

    loaded = {}

    def of(name, dtype):
        if name not in loaded:
            loaded[name] = AutoModelForCausalLM.from_pretrained(backbones(name)).eval()
        return loaded[name].to(dtype)

    return of


def alone(model, tokens, start):
    """Logits that predict ``tokens[start:]``, from a plain forward of this one sequence."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens])).logits[0, start - 1 : -1]


def relative_difference(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize(("name", "dtype", "tolerance"), [*EXACT, *CLOSE])
def test_a_ragged_batch_gives_the_logits_of_each_sequence_alone(models, name, dtype, tolerance):
    model = models(name, dtype)
    with torch.no_grad():
        found = supervised_logits(model, collate(TOKENS, STARTS, "cpu"))
    expected = torch.cat([alone(model, t, s) for t, s in zip(TOKENS, STARTS, strict=True)])
    assert found.dtype == dtype
    assert relative_difference(found, expected) <= tolerance


@pytest.mark.parametrize(("name", "dtype", "tolerance"), [*EXACT, *CLOSE])
def test_branches_give_the_logits_of_each_choice_alone(models, name, dtype, tolerance):
    model = models(name, dtype)
    batch = collate_branches(PROMPTS, CHOICES, "cpu")
    with torch.no_grad():
        found = supervised_logits(model, batch)
    pairs = [(p, c) for p, some in zip(PROMPTS, CHOICES, strict=True) for c in some]
    expected = torch.cat([alone(model, p + c, len(p)) for p, c in pairs])
    assert relative_difference(found, expected) <= tolerance
    assert batch.targets.tolist() == [token for _, c in pairs for token in c]


def test_choices_of_one_token_need_no_mask(models):
    batch = collate_branches(PROMPTS, [((11,), (12,))] * 3, "cpu")
    assert batch.visible is None
    assert batch.input_ids.shape == (3, 9)
    model = models("llama", torch.float64)
    with torch.no_grad():
        found = supervised_logits(model, batch)
    expected = torch.cat([alone(model, (*p, 0), len(p)) for p in PROMPTS for _ in range(2)])
    assert relative_difference(found, expected) <= 1e-10


def test_what_stands_in_the_padding_does_not_matter(models, monkeypatch):
    model = models("llama", torch.float64)
    with torch.no_grad():
        zero = supervised_logits(model, collate(TOKENS, STARTS, "cpu"))
        monkeypatch.setattr("fedbench.forward.batch._PADDING", 77)
        other = supervised_logits(model, collate(TOKENS, STARTS, "cpu"))
    assert torch.equal(zero, other)


def test_a_batch_reads_all_but_the_last_token_and_asks_for_the_rest():
    batch = collate([(1, 2, 3), (4, 5)], [1, 1], "cpu")
    assert batch.input_ids.tolist() == [[1, 2], [4, 0]]
    assert batch.asked.tolist() == [0, 1, 2]
    assert batch.targets.tolist() == [2, 3, 5]
    assert batch.where is None


def test_a_branch_sees_its_prompt_and_itself_at_the_positions_it_would_have_alone():
    batch = collate_branches([(1, 2)], [((3, 4), (5, 6, 7))], "cpu")
    assert batch.input_ids.tolist() == [[1, 2, 3, 5, 6]]
    assert batch.positions.tolist() == [[0, 1, 2, 2, 3]]
    assert batch.asked[batch.where].tolist() == [1, 2, 1, 3, 4]
    assert batch.asked.tolist() == [1, 2, 3, 4]
    assert batch.targets.tolist() == [3, 4, 5, 6, 7]
    assert batch.visible[0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_logits_of_a_narrow_model_come_out_wide(backbones):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(backbones("llama"), dtype=torch.bfloat16)
    for batch in (collate(TOKENS, STARTS, "cpu"), collate_branches(PROMPTS, CHOICES, "cpu")):
        logits = supervised_logits(model, batch)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


#: The same with a prefix of three tokens that every sequence begins with.
ALIKE = [(7, 8, 9, *tokens) for tokens in TOKENS], [start + 3 for start in STARTS]


@pytest.mark.parametrize(
    ("tokens", "starts", "shared"),
    [
        (*ALIKE, 3),
        (TOKENS, STARTS, 0),
        ([(1, 2, 3), (1, 2, 4)], [2, 2], 1),  # what the second token predicts is asked for
        ([(1, 2, 3, 4), (1, 2, 3, 4)], [3, 2], 1),  # the shortest prompt decides
        ([(1, 2, 3)], [2], 0),
    ],
)
def test_the_shared_prefix_ends_before_the_first_position_that_is_asked(
    monkeypatch, tokens, starts, shared
):
    monkeypatch.setattr("fedbench.forward.batch._WORTH", 0)
    batch = collate(tokens, starts, "cpu")
    assert batch.shared == shared
    assert int((batch.asked % batch.input_ids.shape[1]).min()) >= shared
    assert collate(tokens, starts, "cpu", share=False).shared == 0


def test_a_prefix_that_would_save_less_than_a_tenth_of_the_tokens_is_not_shared():
    # Of 2 x 10 tokens a prefix of two saves two, one of a single token saves one.
    rest = tuple(range(20, 29))
    enough, short = [(1, 2, *rest), (1, 2, *rest[::-1])], [(1, 2, *rest), (1, *rest, 30)]
    assert collate(enough, [9, 9], "cpu").shared == 2
    assert collate(short, [9, 9], "cpu").shared == 0


@pytest.mark.parametrize(("name", "dtype", "tolerance"), [*EXACT, *CLOSE])
def test_choices_after_a_shared_prefix_score_as_each_alone(models, name, dtype, tolerance):
    model = models(name, dtype)
    prompts = [(7, 8, 9, *prompt) for prompt in PROMPTS]
    batch = collate_branches(prompts, CHOICES, "cpu")
    assert batch.shared == 3
    with torch.no_grad():
        found = supervised_logits(model, batch)
    pairs = [(p, c) for p, some in zip(prompts, CHOICES, strict=True) for c in some]
    expected = torch.cat([alone(model, p + c, len(p)) for p, c in pairs])
    assert relative_difference(found, expected) <= tolerance


def norm(module, x):
    """RMS norm in the type of its input: Hugging Face's rounds to fp32 on the way, in any type."""
    epsilon = getattr(module, "variance_epsilon", None) or module.eps
    weight = module.weight + ("Gemma" in type(module).__name__)
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = cross_entropy(supervised_logits(model, batch), batch.targets)
    loss.backward()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return loss.item(), {n: p.grad.clone() for n, p in trained.items()}


#: 4-bit weights are multiplied in fp32, whatever the rest is in.
IN_FP32 = [(method, torch.float32, 1e-6, 1e-5) for method in ("lora", "qlora", "ia3", "full")]
IN_FP64 = [(method, torch.float64, 1e-10, 1e-10) for method in ("lora", "ia3", "full")]


@pytest.mark.parametrize(("method", "dtype", "of_loss", "of_gradient"), [*IN_FP32, *IN_FP64])
@pytest.mark.parametrize("sequences", [(TOKENS, STARTS), ALIKE], ids=["apart", "alike"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_those_of_the_plain_path(
    backbones, monkeypatch, name, method, sequences, dtype, of_loss, of_gradient
):
    config = resolve(RunConfig(task="toy", backbone=str(backbones(name)), method=method))
    batch = collate(*sequences, "cpu")
    torch.manual_seed(0)
    with attached(config) as model:
        drawn = {n: t + 0.1 * torch.randn_like(t) for n, t in trained_tensors(model).items()}
        load_tensors(model, drawn)
        try:
            if dtype == torch.float64:
                model.to(dtype)
                for kind in {type(m) for m in model.modules() if "RMSNorm" in type(m).__name__}:
                    monkeypatch.setattr(kind, "forward", norm)
            loss, gradients = loss_and_gradients(model, batch)
            monkeypatch.setattr("fedbench.forward.follows", lambda *_: False)
            expected, plain = loss_and_gradients(model, batch)
        finally:
            if dtype == torch.float64:
                model.float()
    assert abs(loss - expected) <= of_loss * abs(expected)
    for tensor in plain:
        difference = (gradients[tensor] - plain[tensor]).norm() / plain[tensor].norm()
        assert difference <= of_gradient, tensor


def test_a_frozen_factor_gets_no_gradient_and_the_other_the_same(backbones):
    config = resolve(RunConfig(task="toy", backbone=str(backbones("llama"))))
    batch = collate(TOKENS, STARTS, "cpu")
    with attached(config) as model:
        _, whole = loss_and_gradients(model, batch)
        frozen = [p for name, p in model.named_parameters() if "lora_A" in name]
        for parameter in frozen:
            parameter.requires_grad_(False)
        _, half = loss_and_gradients(model, batch)
        for parameter in frozen:
            parameter.requires_grad_(True)
    assert set(half) == {name for name in whole if "lora_B" in name}
    assert all(torch.equal(half[name], whole[name]) for name in half)


def test_dropout_of_lora_takes_its_own_path(backbones):
    config = resolve(RunConfig(task="toy", backbone=str(backbones("llama")), dropout=0.5))
    batch = collate(TOKENS, STARTS, "cpu", share=False)
    with attached(config) as model:
        tensors = {n: t + 0.1 for n, t in trained_tensors(model).items()}
        load_tensors(model, tensors)
        still = [supervised_logits(model.eval(), batch) for _ in range(2)]
        random = [supervised_logits(model.train(), batch) for _ in range(2)]
    assert torch.equal(*still)
    assert not torch.equal(*random)


def test_a_window_shorter_than_the_batch_takes_the_plain_path():
    windowed = SimpleNamespace(model_type="mistral", sliding_window=8, attention_dropout=0)
    assert follows(windowed, 8)
    assert not follows(windowed, 9)
    assert not follows(SimpleNamespace(model_type="gemma2"), 4)


@pytest.mark.parametrize("name", ["mistral", "gemma2"])
def test_choices_beyond_a_window_are_scored_as_each_alone(backbones, name):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(backbones(name), sliding_window=6).eval()
    items = [Tokenised(prompt, choices) for prompt, choices in zip(PROMPTS, CHOICES, strict=True)]
    assert not takes_branches(model, 7)
    found = score(model, items, "cpu", mean=False)
    for item, scores in zip(items, found, strict=True):
        for choice, value in zip(item.choices, scores, strict=True):
            logits = alone(model, item.prompt + choice, len(item.prompt))
            each = logits.log_softmax(-1)[range(len(choice)), choice]
            assert abs(value - each.sum().item()) < 1e-4


def test_a_record_says_how_a_model_is_computed():
    def model(kind):
        return SimpleNamespace(config=SimpleNamespace(model_type=kind, attention_dropout=0))

    ours = {"blocks": "fedbench", "prefix": "once per batch"}
    assert describe(model("llama"), 8, share=True) == ours
    assert describe(model("llama"), 8, share=False) == ours | {"prefix": "in every sequence"}
    plain = {"blocks": "transformers", "prefix": "in every sequence"}
    assert describe(model("gemma2"), 8, share=True) == plain


def test_a_model_that_drops_attention_takes_the_plain_path():
    assert not follows(SimpleNamespace(model_type="llama", attention_dropout=0.1), 4)


@pytest.mark.parametrize("name", ["llama", "gemma", "phi"])
def test_blocks_computed_again_give_the_same_gradient(backbones, name):
    found = []
    for again in (False, True):
        config = RunConfig(task="toy", backbone=str(backbones(name)), checkpointing=again)
        with attached(resolve(config)) as model:
            load_tensors(model, {n: t + 0.1 for n, t in trained_tensors(model).items()})
            found.append(loss_and_gradients(model.train(), collate(*ALIKE, "cpu")))
    (loss, gradients), (other_loss, others) = found
    assert loss == other_loss
    assert all(torch.allclose(gradients[n], others[n], rtol=1e-6, atol=0) for n in gradients)


def test_blocks_that_are_computed_again_keep_less_for_the_gradient(backbones):
    kept = []
    for again in (False, True):
        config = RunConfig(
            task="toy", backbone=str(backbones("llama")), method="full", checkpointing=again
        )
        sizes = []
        with (
            attached(resolve(config)) as model,
            torch.autograd.graph.saved_tensors_hooks(
                lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
            ),
        ):
            supervised_logits(model.train(), collate([[3] * 200] * 4, [199] * 4, "cpu"))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 1.5
