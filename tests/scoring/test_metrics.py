from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from thetascope.errors import ObjectiveError
from thetascope.scoring.metrics import IGNORED, RESERVED, Loss, SupervisedStep, accuracy, chosen_metrics, cross_entropy, mse, nll
from thetascope.scoring.scores import Column, Sums


def logits(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def classes(*shape: int, count: int = 3) -> Tensor:
    return torch.randint(count, shape, generator=torch.Generator().manual_seed(8))


def mean(measure: Callable[[Tensor, Tensor], Column], outputs: Tensor, targets: Tensor, sizes: list[int] | None = None) -> float:
    """The mean over all rows, handed over in batches of `sizes`."""
    sums = Sums(spread=False)
    for x, y in zip(torch.split(outputs, sizes or len(outputs)), torch.split(targets, sizes or len(targets)), strict=True):
        sums.add({"loss": measure(x, y)})
    return sums.means()["loss"]


def scored(loss: Loss, outputs: Any, targets: Any, **metrics: Loss) -> dict[str, Any]:
    """What the step gives for a model that returns `outputs`."""

    class Fixed(nn.Module):
        def forward(self, _: object) -> Any:
            return outputs

    return dict(SupervisedStep(loss, metrics)(Fixed(), (torch.zeros(len(targets)), targets)))


class TestAgainstTorch:
    def test_cross_entropy_of_classes(self) -> None:
        x, y = logits(10, 3), classes(10)
        assert mean(cross_entropy, x, y) == pytest.approx(F.cross_entropy(x.double(), y).item(), rel=1e-14)

    def test_cross_entropy_of_probabilities(self) -> None:
        x, y = logits(10, 3), logits(10, 3).softmax(1)
        assert mean(cross_entropy, x, y) == pytest.approx(F.cross_entropy(x.double(), y.double()).item(), rel=1e-14)

    def test_cross_entropy_of_probabilities_at_several_positions(self) -> None:
        x, y = logits(4, 3, 5), logits(4, 3, 5).softmax(1)
        positions = F.cross_entropy(x.double(), y.double(), reduction="none")
        assert mean(cross_entropy, x, y, [3, 1]) == pytest.approx(positions.mean().item(), rel=1e-14)

    def test_nll(self) -> None:
        x, y = logits(10, 3).log_softmax(1), classes(10)
        assert mean(nll, x, y) == pytest.approx(F.nll_loss(x.double(), y).item(), rel=1e-14)

    @pytest.mark.parametrize("shape", [(10,), (10, 1), (10, 3), (10, 2, 4)])
    def test_mse(self, shape: tuple[int, ...]) -> None:
        x, y = logits(*shape), -logits(*shape).flip(0)
        assert mean(mse, x, y, [7, 3]) == pytest.approx(F.mse_loss(x.double(), y.double()).item(), rel=1e-14)

    def test_accuracy_of_classes(self) -> None:
        x, y = logits(10, 3), classes(10)
        assert mean(accuracy, x, y) == (x.argmax(1) == y).double().mean().item()

    def test_accuracy_of_probabilities(self) -> None:
        x, y = logits(10, 3), classes(10)
        assert mean(accuracy, x, F.one_hot(y, 3).float()) == mean(accuracy, x, y)

    def test_sums_in_float64_what_a_half_precision_model_gave(self) -> None:
        x, y = logits(100, 3).bfloat16(), classes(100)
        assert mean(cross_entropy, x, y) == pytest.approx(F.cross_entropy(x.double(), y).item(), rel=1e-14)

    def test_nan_and_infinite_outputs_give_what_torch_gives(self) -> None:
        x, y = torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        assert torch.equal(cross_entropy(x, y).values.isnan(), torch.tensor([True, False]))
        assert mean(nll, torch.tensor([[-torch.inf, 0.0]]), torch.tensor([0])) == torch.inf


tokens = st.lists(st.lists(st.sampled_from([IGNORED, 0, 1, 2]), min_size=4, max_size=4), min_size=1, max_size=7)


class TestIgnoredPositions:
    @given(tokens, st.integers(1, 7))
    def test_losses_are_torch_s_mean_over_what_counts_however_they_are_cut(self, rows: list[list[int]], size: int) -> None:
        y = torch.tensor(rows)
        x = logits(len(rows), 3, 4)
        sizes = [len(part) for part in torch.split(y, size)]
        if bool((y == IGNORED).all()):
            assert torch.tensor(mean(cross_entropy, x, y, sizes)).isnan()
            return
        assert mean(cross_entropy, x, y, sizes) == pytest.approx(F.cross_entropy(x.double(), y).item(), rel=1e-12)
        assert mean(nll, x, y, sizes) == pytest.approx(F.nll_loss(x.double(), y).item(), rel=1e-12, abs=1e-12)
        right = (x.argmax(1) == y)[y != IGNORED].double().mean().item()
        assert mean(accuracy, x, y, sizes) == pytest.approx(right, rel=1e-12)

    def test_of_single_labels_too(self) -> None:
        x, y = logits(6, 3), torch.tensor([0, IGNORED, 2, IGNORED, 1, 1])
        assert mean(cross_entropy, x, y, [2, 4]) == pytest.approx(F.cross_entropy(x.double(), y).item(), rel=1e-14)

    def test_an_output_of_nan_there_does_not_show(self) -> None:
        x, y = logits(2, 3, 2), torch.tensor([[0, IGNORED], [1, 2]])
        x[0, :, 1] = torch.nan
        assert torch.isfinite(cross_entropy(x, y).values).all()


class TestShapesThatDoNotFit:
    @pytest.mark.parametrize(("outputs", "targets"), [((10, 1), (10,)), ((10,), (10, 1)), ((10, 3), (10, 1)), ((10, 3), (3,))])
    def test_mse_broadcasts_nothing(self, outputs: tuple[int, ...], targets: tuple[int, ...]) -> None:
        with pytest.raises(ObjectiveError, match=r"one shape\. Got"):
            mse(logits(*outputs), logits(*targets))

    @pytest.mark.parametrize("targets", [logits(10, 1), logits(10), classes(10, 3)])
    def test_accuracy_needs_classes(self, targets: Tensor) -> None:
        with pytest.raises(ObjectiveError, match=r"accuracy needs class indices .* For regression pass metrics=\(\)"):
            accuracy(logits(10, 3), targets)

    def test_what_torch_refuses_is_told_with_both_shapes(self) -> None:
        with pytest.raises(ObjectiveError, match=r"loss failed on outputs float32 \[10, 3\] and targets int64 \[10\].*out of bounds"):
            scored("cross_entropy", logits(10, 3), classes(10, count=9))
        with pytest.raises(ObjectiveError, match=r"nll failed on outputs float32 \[10, 3\] and targets float32 \[10, 3\]"):
            scored("cross_entropy", logits(10, 3), logits(10, 3), nll="nll")

    @pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), RuntimeError("can't allocate memory")])
    def test_memory_that_ran_out_stays_what_it_is(self, error: Exception) -> None:
        def greedy(outputs: Tensor, targets: Tensor) -> Tensor:
            raise error

        with pytest.raises(type(error), match=str(error)):
            scored(greedy, logits(10, 3), classes(10))


class TestFunctions:
    x, y = logits(10, 3), classes(10)

    def test_per_sample_values(self) -> None:
        found = scored(lambda x, y: F.cross_entropy(x, y, reduction="none"), self.x, self.y)["loss"]
        assert found.values.shape == (10,)
        assert found.per_sample

    def test_a_mean_stands_for_the_whole_batch(self) -> None:
        found = scored(F.cross_entropy, self.x, self.y)["loss"]
        assert (found.values.shape, float(found.weights)) == ((), 10)

    def test_metrics_by_name_and_function(self) -> None:
        found = scored("cross_entropy", self.x, self.y, error=lambda x, y: x.argmax(1) != y, again="cross_entropy")
        assert torch.equal(found["error"].values, (self.x.argmax(1) != self.y).double())
        assert torch.equal(found["again"].values, found["loss"].values)

    def test_several_values_a_sample_are_refused(self) -> None:
        with pytest.raises(ObjectiveError, match=r'"loss" must be per-sample values \[4\] or one mean. Got shape \[4, 5\]'):
            scored(lambda x, y: F.cross_entropy(x, y, reduction="none"), logits(4, 3, 5), classes(4, 5))

    def test_a_function_that_fails_is_named(self) -> None:
        with pytest.raises(ObjectiveError, match="top5 failed on outputs"):
            scored("cross_entropy", self.x, self.y, top5=lambda x, y: x.topk(5, dim=1))

    def test_functions_may_take_outputs_of_any_kind(self) -> None:
        found = scored(lambda outputs, y: F.cross_entropy(outputs["logits"], y), {"logits": self.x}, self.y)
        assert found["loss"].values.item() == pytest.approx(F.cross_entropy(self.x, self.y).item())


@dataclass
class ModelOutput:
    logits: Tensor


@pytest.mark.parametrize("outputs", [ModelOutput(logits(4, 3)), {"logits": logits(4, 3)}, (logits(4, 3), None)])
def test_outputs_that_are_no_tensor_point_to_from_step(outputs: Any) -> None:
    with pytest.raises(
        ObjectiveError, match=rf"returned a {type(outputs).__name__}, not a tensor.*[\s\S]*from_step\(model, data, step=step\)"
    ):
        scored("cross_entropy", outputs, classes(4))


class TestChosenMetrics:
    def test_by_name_or_mapping(self) -> None:
        def error(outputs: Tensor, targets: Tensor) -> Tensor:
            return outputs.argmax(1) != targets

        assert chosen_metrics(("accuracy", "nll"), "cross_entropy", classes(3)) == {"accuracy": "accuracy", "nll": "nll"}
        assert chosen_metrics({"error": error}, "cross_entropy", classes(3)) == {"error": error}
        assert chosen_metrics((), "cross_entropy", classes(3)) == {}

    def test_the_default_is_left_out_for_regression(self) -> None:
        assert chosen_metrics(("accuracy",), "mse", logits(3)) == {}
        assert set(chosen_metrics(("accuracy",), "cross_entropy", logits(3, 2).softmax(1))) == {"accuracy"}

    def test_unknown_names_are_told_with_those_there_are(self) -> None:
        with pytest.raises(ObjectiveError, match=r'unknown metric "acc"; there are accuracy, cross_entropy.*or pass a function'):
            chosen_metrics(("acc",), "cross_entropy", classes(3))
        with pytest.raises(ObjectiveError, match=r'unknown loss "hinge"; there are cross_entropy, nll, mse'):
            SupervisedStep("hinge", {})

    @pytest.mark.parametrize("name", RESERVED)
    def test_names_that_results_use_are_refused(self, name: str) -> None:
        with pytest.raises(ObjectiveError, match=f'may not be called "{name}".*choose another'):
            chosen_metrics({name: "accuracy"}, "cross_entropy", classes(3))

    def test_a_string_for_a_list_is_told(self) -> None:
        with pytest.raises(ObjectiveError, match=r'got the string "accuracy": write \("accuracy",\)'):
            chosen_metrics("accuracy", "cross_entropy", classes(3))
