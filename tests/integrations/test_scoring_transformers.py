"""What models of transformers score: the mean over all tokens or samples, in whatever batches, padded however."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thetascope as ts
from tests.integrations import language
from tests.integrations.language import in_batches, of_some_tokens, of_texts, of_tokens, over_all_tokens
from thetascope.errors import ObjectiveError

pytestmark = pytest.mark.filterwarnings("ignore")
SIZES = (1, 3, 11)

TOKENS: list[Any] = [
    pytest.param(language.gpt2, of_tokens, "causal_lm", True, id="gpt2"),
    pytest.param(language.llama, of_tokens, "causal_lm", True, id="llama-bf16"),
    pytest.param(lambda: language.bert("BertForMaskedLM"), of_some_tokens, "token_classification", False, id="bert-masked"),
    pytest.param(language.t5, of_tokens, "token_classification", False, id="t5"),
]


def trained(model: nn.Module) -> dict[str, Tensor]:
    """A state other than the model's, so that what is scored must have arrived."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw).to(parameter))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("make", "labels", "step", "shift"), TOKENS)
def test_the_mean_over_all_tokens(make: Callable[[], Any], labels: Any, step: str, shift: bool, size: int) -> None:
    state, batches = trained(make()), in_batches(size, labels)
    want_loss, want_accuracy = over_all_tokens(make(), state, batches, shift=shift)
    own = ts.Objective(make(), batches, loss="model").score(state)
    ready = ts.Objective.from_step(make(), batches, step=getattr(ts.steps, step)).score(state)
    assert own["loss"] == pytest.approx(want_loss, rel=1e-6)
    assert ready["loss"] == pytest.approx(want_loss, rel=1e-6)
    assert ready["accuracy"] == pytest.approx(want_accuracy, abs=1e-12)
    assert set(own) == {"loss", "samples"}
    assert ready["samples"] == len(language.LENGTHS)


@pytest.mark.parametrize("step", ["causal_lm", "token_classification"])
def test_batches_make_no_difference(step: str) -> None:
    model = language.gpt2() if step == "causal_lm" else language.bert("BertForMaskedLM")
    labels = of_tokens if step == "causal_lm" else of_some_tokens
    state = trained(model)
    losses = [ts.Objective.from_step(model, in_batches(size, labels), step=getattr(ts.steps, step)).score(state)["loss"] for size in SIZES]
    assert losses == pytest.approx([losses[-1]] * len(SIZES), rel=1e-6)


def test_tokens_are_the_labels_where_there_are_none() -> None:
    batches = in_batches(3, of_tokens)
    without = [{key: value for key, value in batch.items() if key != "labels"} for batch in batches]
    state = trained(language.gpt2())
    scored = [ts.Objective.from_step(language.gpt2(), each, step=ts.steps.causal_lm).score(state) for each in (batches, without)]
    assert scored[0] == scored[1]


def test_a_row_that_is_padded_on_the_left_scores_alike() -> None:
    rows = language.texts()[:3]
    right = language.padded(rows, of_tokens)
    left = {key: torch.stack([row.roll(12 - len(text)) for row, text in zip(value, rows, strict=True)]) for key, value in right.items()}
    left["position_ids"] = (left["attention_mask"].cumsum(1) - 1).clamp(min=0)
    state = trained(language.gpt2())
    both = [ts.Objective.from_step(language.gpt2(), [each], step=ts.steps.causal_lm).score(state)["loss"] for each in (right, left)]
    assert both[0] == pytest.approx(both[1], rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_mean_over_samples(kind: str, size: int) -> None:
    model = language.bert() if kind == "text" else language.vit()
    if kind == "text":
        batches: list[dict[str, Tensor]] = in_batches(size, of_texts)
    else:
        images, labels = torch.randn(11, 3, 8, 8, generator=torch.Generator().manual_seed(3)), torch.arange(11) % language.CLASSES
        batches = [{"pixel_values": images[i : i + size], "labels": labels[i : i + size]} for i in range(0, 11, size)]
    state = trained(model)
    own = ts.Objective(model, batches, loss="model").score(state)
    ready = ts.Objective.from_step(model, batches, step=ts.steps.sequence_classification).score(state)
    model.load_state_dict(state)
    with torch.no_grad():
        logits = torch.cat([model.eval()(**batch).logits for batch in batches]).double()
    wanted = torch.cat([batch["labels"] for batch in batches])
    for scored in (own, ready):
        assert scored["loss"] == pytest.approx(float(F.cross_entropy(logits, wanted)), rel=1e-6)
        assert scored["accuracy"] == pytest.approx(float((logits.argmax(1) == wanted).double().mean()))


@pytest.mark.parametrize(("labels", "kind"), [(1, "regression"), (4, "multi_label_classification")])
def test_numbers_and_labels_that_hold_together(labels: int, kind: str) -> None:
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config: Any = language.transformers.BertConfig(vocab_size=language.VOCABULARY, max_position_embeddings=16, num_labels=labels, **sizes)
    draw = torch.Generator().manual_seed(4)
    model: Any = language.transformers.BertForSequenceClassification(config)
    batches = in_batches(3, of_texts)
    for batch in batches:
        size = (len(batch["labels"]),) if labels == 1 else (len(batch["labels"]), labels)
        batch["labels"] = torch.rand(size, generator=draw) if labels == 1 else torch.randint(0, 2, size, generator=draw).float()
    state = trained(model)
    own = ts.Objective(model, batches, loss="model").score(state)
    ready = ts.Objective.from_step(model, batches, step=ts.steps.sequence_classification).score(state)
    assert model.config.problem_type is None or model.config.problem_type == kind
    model.load_state_dict(state)
    total = sum(float(model.eval()(**batch).loss.detach().double()) * len(batch["labels"]) for batch in batches)
    assert own["loss"] == pytest.approx(total / 11, rel=1e-6)
    assert ready["loss"] == pytest.approx(total / 11, rel=1e-6)


def test_what_a_loss_is_the_mean_over_is_found_whatever_the_rows() -> None:
    even = [language.padded([torch.arange(1, 9)] * 4, of_tokens), language.padded([torch.arange(1, 5)] * 4, of_tokens)]
    state = trained(language.gpt2())
    want, _ = over_all_tokens(language.gpt2(), state, even, shift=True)
    assert ts.Objective(language.gpt2(), even, loss="model").score(state)["loss"] == pytest.approx(want, rel=1e-6)


class Perplexity(nn.Module):
    """Its loss is the perplexity, which is no mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.model = language.gpt2()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Any:
        found = self.model(input_ids=input_ids, attention_mask=attention_mask, labels=labels)
        found.loss = found.loss.exp()
        return found


def test_a_loss_that_is_no_mean_is_refused_by_name() -> None:
    with pytest.raises(ObjectiveError, match="no mean over its labels or rows") as caught:
        ts.Objective(Perplexity(), in_batches(3, of_tokens), loss="model").score(Perplexity().state_dict())
    assert "weight=" in str(caught.value)
    assert "ts.steps" in str(caught.value)


def test_a_weight_of_the_user_s_own() -> None:
    batches, state = in_batches(3, of_tokens), trained(language.gpt2())
    counted = ts.Objective(language.gpt2(), batches, loss="model", weight=lambda batch: (batch["labels"][:, 1:] != -100).sum())
    found = ts.Objective(language.gpt2(), batches, loss="model")
    assert counted.score(state)["loss"] == pytest.approx(found.score(state)["loss"], rel=1e-12)
    assert counted.fingerprint()["loss"] != "model"
    with pytest.raises(ObjectiveError, match='weight= is for loss="model"'):
        ts.Objective(nn.Linear(2, 2), (torch.randn(4, 2), torch.zeros(4).long()), weight=len)


def test_points_of_an_experiment_are_weighted_too() -> None:
    first = language.gpt2().state_dict()
    states = [{name: tensor.clone() for name, tensor in first.items()}, trained(language.gpt2())]
    batches, trajectory = in_batches(3, of_tokens), ts.Trajectory.from_states(states)
    line = ts.interpolate(ts.Objective(language.gpt2(), batches, loss="model"), trajectory, alphas=3, progress=False)
    for alpha, loss in zip(line.data["alpha"].values, line.data["loss"].values, strict=True):
        point = {name: torch.lerp(states[0][name], states[1][name], float(alpha)) for name in first}
        assert loss == pytest.approx(over_all_tokens(language.gpt2(), point, batches, shift=True)[0], rel=1e-6)


def test_columns_that_the_model_does_not_take_are_left_out() -> None:
    batches: list[Any] = in_batches(3, of_tokens)
    for batch in batches:
        batch |= {"idx": torch.arange(len(batch["labels"])), "text": ["…"] * len(batch["labels"])}
    state = trained(language.gpt2())
    plain = ts.Objective(language.gpt2(), in_batches(3, of_tokens), loss="model").score(state)
    assert ts.Objective(language.gpt2(), batches, loss="model").score(state)["loss"] == plain["loss"]


def test_batches_that_are_no_mappings_or_lack_labels() -> None:
    with pytest.raises(ObjectiveError, match="mappings of the model's keyword arguments"):
        ts.Objective(language.gpt2(), (torch.zeros(4, 3).long(), torch.zeros(4).long()), loss="model")
    objective = ts.Objective(language.gpt2(), [{"input_ids": torch.ones(2, 4).long()}], loss="model")
    with pytest.raises(ObjectiveError, match="gave no loss"):
        objective.score(language.gpt2().state_dict())


def test_a_loader_with_a_collator() -> None:
    from torch.utils.data import DataLoader

    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[PAD]": 0} | {str(i): i for i in range(1, language.VOCABULARY)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, "[PAD]"))
    tokenizer = language.transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]")
    texts = language.texts()
    rows = [{"input_ids": row.tolist(), "attention_mask": [1] * len(row), "label": int(row.sum()) % language.CLASSES} for row in texts]
    dataset: Any = rows
    loader = DataLoader(dataset, batch_size=4, collate_fn=language.transformers.DataCollatorWithPadding(tokenizer))
    state = trained(language.bert())
    step = ts.steps.sequence_classification
    want = ts.Objective.from_step(language.bert(), in_batches(4, of_texts), step=step).score(state)
    assert ts.Objective.from_step(language.bert(), loader, step=step).score(state) == pytest.approx(want, rel=1e-6)
