from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.scoring.plain import combined, loaded, plain_scores, recalibrate
from thetascope.errors import ObjectiveError, StateError
from thetascope.geometry.paths import model_path
from thetascope.scoring.objective import Objective
from thetascope.scoring.oracle import EagerBackend
from thetascope.testing.contracts import assert_close, line, scored
from thetascope.testing.models import CASES, Case, QuadraticBowl, case

LINEAR = case("linear")
BLOCK = case("BatchNorm ResNet block")


def per_sample(model: nn.Module, batch: Any) -> dict[str, Any]:
    logits = model(batch[0])
    return {"loss": F.cross_entropy(logits, batch[1], reduction="none"), "accuracy": logits.argmax(1) == batch[1]}


def means(model: nn.Module, batch: Any) -> dict[str, Any]:
    logits = model(batch[0])
    right = (logits.argmax(1) == batch[1]).float().mean()
    return {"loss": F.cross_entropy(logits, batch[1]), "accuracy": right, "weight": len(batch[0])}


class TestScore:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    @pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-6), ("float64", 1e-13)])
    def test_is_a_plain_loop_over_the_data(self, case: Case, dtype: str | None, tolerance: float) -> None:
        objective = Objective(case.model(), case.data(), loss=case.loss, dtype=dtype, batch_size=3)
        state = case.states(2)[1]
        point = {name: objective.bind(state)[name] for name in objective.space.tensors}
        model = loaded(case, point, torch.float64 if dtype else torch.float32)
        expected = plain_scores(model, [case.data()], case.loss)
        found = objective.score(state)
        assert found.pop("samples") == 10
        assert_close([found], [expected], tolerance)

    @pytest.mark.parametrize("size", [1, 3, 7, 9, 10, 1000])
    def test_a_last_batch_of_another_size_changes_nothing(self, size: int) -> None:
        (state,) = LINEAR.states(1)
        found = Objective(LINEAR.model(), LINEAR.data(), dtype="float64", batch_size=size).score(state)
        whole = Objective(LINEAR.model(), LINEAR.data(), dtype="float64", batch_size=10).score(state)
        assert found == {name: pytest.approx(value, rel=1e-14) for name, value in whole.items()}

    @pytest.mark.parametrize("loss", [F.cross_entropy, functools.partial(F.cross_entropy, reduction="none")])
    def test_neither_does_a_loss_of_one_s_own(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        (state,) = LINEAR.states(1)
        found = Objective(LINEAR.model(), LINEAR.data(), loss=loss, batch_size=7).score(state)
        assert found == {
            name: pytest.approx(v, rel=1e-6) for name, v in Objective(LINEAR.model(), LINEAR.data(), batch_size=7).score(state).items()
        }

    def test_does_not_depend_on_the_model_s_present_values_or_mode(self) -> None:
        (state,) = BLOCK.states(1)
        scores = [Objective(BLOCK.model(seed).train(seed == 5), BLOCK.data()).score(state) for seed in (3, 4, 5)]
        assert scores[0] == scores[1] == scores[2]

    def test_gives_plain_numbers(self) -> None:
        found = Objective(LINEAR.model(), LINEAR.data()).score(LINEAR.states(1)[0])
        assert {name: type(value) for name, value in found.items()} == {"loss": float, "accuracy": float, "samples": int}

    @pytest.mark.parametrize("buffers", ["path", "final", "recalibrate"])
    def test_takes_a_state_as_it_stands(self, buffers: Any) -> None:
        (state,) = BLOCK.states(1)
        expected = plain_scores(loaded(BLOCK, state), [BLOCK.data()], "cross_entropy")
        found = Objective(BLOCK.model(), BLOCK.data(), buffers=buffers).score(state)
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)

    def test_what_is_not_finite_stays(self) -> None:
        (state,) = LINEAR.states(1)
        state["2.bias"] = torch.tensor([math.nan, 0, 0])
        assert math.isnan(Objective(LINEAR.model(), LINEAR.data()).score(state)["loss"])
        state["2.bias"] = torch.tensor([-math.inf, 0, 0])
        assert Objective(LINEAR.model(), LINEAR.data()).score(state)["loss"] == math.inf

    def test_a_state_of_another_model_is_refused(self) -> None:
        with pytest.raises(StateError, match="does not fit the model"):
            Objective(LINEAR.model(), LINEAR.data()).score(BLOCK.states(1)[0])

    def test_a_loss_known_in_closed_form(self) -> None:
        bowl = QuadraticBowl(curvature=[2.0, 8.0], bottom=[1.0, -1.0])
        objective = Objective.from_step(bowl, bowl.data(), step=bowl.step)
        found = objective.score({"position": torch.tensor([3.0, 0.0], dtype=torch.float64)})
        assert found == {"loss": 8.0, "samples": 3}


class TestSamples:
    @pytest.mark.parametrize("kind", ["tensors", "loader"])
    def test_carry_the_standard_error_of_the_loss(self, kind: str) -> None:
        inputs, targets = LINEAR.data(20)
        data: Any = (inputs, targets) if kind == "tensors" else DataLoader(TensorDataset(inputs, targets), batch_size=6)
        objective = Objective(LINEAR.model(), data, samples=8, batch_size=3, dtype="float64")
        (state,) = LINEAR.states(1)
        found = objective.score(state)
        drawn = torch.cat([x for x, _ in objective.batches]), torch.cat([y for _, y in objective.batches])
        with torch.no_grad():
            losses = F.cross_entropy(loaded(LINEAR, state, torch.float64)(drawn[0]), drawn[1], reduction="none").numpy()
        assert found["samples"] == len(losses) == 8
        assert found["loss"] == pytest.approx(losses.mean(), rel=1e-13)
        assert found["loss_standard_error"] == pytest.approx(losses.std(ddof=1) / math.sqrt(8), rel=1e-10)

    def test_are_absent_unless_asked_for(self) -> None:
        assert "loss_standard_error" not in Objective(LINEAR.model(), LINEAR.data()).score(LINEAR.states(1)[0])

    def test_need_per_sample_losses(self) -> None:
        objective = Objective(LINEAR.model(), LINEAR.data(), loss=F.cross_entropy, samples=5)
        with pytest.raises(ObjectiveError, match="needs per-sample losses"):
            objective.score(LINEAR.states(1)[0])


class TestFromStep:
    @pytest.mark.parametrize("step", [per_sample, means])
    def test_scores_as_the_objective_of_pairs(self, step: Any) -> None:
        data = [tuple(part[i : i + 4] for part in LINEAR.data()) for i in (0, 4, 8)]
        (state,) = LINEAR.states(1)
        expected = Objective(LINEAR.model(), data).score(state)
        found = Objective.from_step(LINEAR.model(), data, step=step).score(state)
        assert found == {name: pytest.approx(value, rel=1e-6) for name, value in expected.items()}

    def test_takes_batches_and_outputs_of_any_kind(self) -> None:
        class Wrapped(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = LINEAR.model()

            def forward(self, *, image: Tensor) -> dict[str, Tensor]:
                return {"logits": self.inner(image)}

        def step(model: nn.Module, batch: Any) -> dict[str, Any]:
            logits = model(image=batch["image"])["logits"]
            return {"loss": F.cross_entropy(logits, batch["label"], reduction="none")}

        inputs, targets = LINEAR.data()
        data = [{"image": inputs[:6], "label": targets[:6]}, {"image": inputs[6:], "label": targets[6:]}]
        state = {f"inner.{name}": tensor for name, tensor in LINEAR.states(1)[0].items()}
        found = Objective.from_step(Wrapped(), data, step=step).score(state)
        expected = Objective(LINEAR.model(), LINEAR.data()).score(LINEAR.states(1)[0])
        assert found == {"loss": pytest.approx(expected["loss"], rel=1e-6), "samples": 10}

    def test_means_without_a_weight_are_refused(self) -> None:
        objective = Objective.from_step(LINEAR.model(), LINEAR.data(), step=lambda m, b: {"loss": m(b[0]).mean()})
        with pytest.raises(ObjectiveError, match=r'"loss" as one mean and does not say for how many samples'):
            objective.score(LINEAR.states(1)[0])

    def test_means_have_no_standard_error(self) -> None:
        objective = Objective.from_step(LINEAR.model(), LINEAR.data(), step=means, samples=5)
        with pytest.raises(ObjectiveError, match=r"needs per-sample losses.*leave samples= out"):
            objective.score(LINEAR.states(1)[0])

    def test_a_step_must_be_a_function(self) -> None:
        with pytest.raises(ObjectiveError, match=r"step must be a function of \(model, batch\)\. Got str"):
            Objective.from_step(LINEAR.model(), LINEAR.data(), step="cross_entropy")  # type: ignore[arg-type]

    def test_empty_data_are_refused_at_once(self) -> None:
        with pytest.raises(ObjectiveError, match="the data gave no batch"):
            Objective.from_step(LINEAR.model(), [], step=per_sample)


class TestBuffers:
    ALPHAS = (-0.5, 0.0, 0.3, 1.0, 1.5)

    def scores(self, **options: Any) -> list[float]:
        objective = Objective(BLOCK.model(), BLOCK.data(), batch_size=4, **options)
        return [float(s["loss"]) for s in scored(EagerBackend, objective, line(objective, BLOCK.states(2), self.ALPHAS))]

    def by_hand(self, policy: str) -> list[float]:
        objective = Objective(BLOCK.model(), BLOCK.data(), batch_size=4)
        points, found = line(objective, BLOCK.states(2), self.ALPHAS), []
        for k, alpha in enumerate(self.ALPHAS):
            tensors = combined(points, k)
            clamped = 1.0 if policy == "final" else min(max(alpha, 0.0), 1.0)
            for name in objective.space.buffers:
                first, last = (state[name].double() for state in points.basis)
                tensors[name] = (1 - clamped) * first + clamped * last
            model = loaded(BLOCK, tensors)
            if policy == "recalibrate":
                recalibrate(model, [BLOCK.data()])  # fewer rows than a calibration batch are one
            found.append(plain_scores(model, [BLOCK.data()], "cross_entropy")["loss"])
        return found

    @pytest.mark.parametrize("policy", ["path", "final", "recalibrate"])
    def test_come_from_where_the_policy_says(self, policy: str) -> None:
        np.testing.assert_allclose(self.scores(buffers=policy), self.by_hand(policy), rtol=1e-5)

    def test_are_the_path_s_unless_said_otherwise(self) -> None:
        assert self.scores() == self.scores(buffers="path")

    def test_policies_are_three_different_curves(self) -> None:
        curves = np.array([self.scores(buffers=policy) for policy in ("path", "final", "recalibrate")])
        assert np.isfinite(curves).all()
        assert (curves[0, 3:] == curves[1, 3:]).all()  # at and beyond the last state its own statistics count either way
        assert (abs(np.diff(curves, axis=0))[:, :3] > 1e-4).all()

    def test_of_a_curved_path_stay_positive_where_lagrange_weights_are_not(self) -> None:
        states = BLOCK.states(3)
        for state in (states[0], states[2]):
            state["norm1.running_var"].fill_(10.0)
        states[1]["norm1.running_var"].fill_(0.1)
        objective = Objective(BLOCK.model(), BLOCK.data())
        space = objective.space
        floating = [n for n in space.buffers if space.tensors[n].floating]
        bound = [objective.bind(state) for state in states]
        path = model_path(bound, [0, 0.5, 1], np.linspace(-0.5, 1.5, 9), space.parameters, floating)
        assert all(math.isfinite(s["loss"]) for s in scored(EagerBackend, objective, path))

    def test_calibration_data_of_one_s_own_are_used_and_marked(self) -> None:
        other = tuple(part[10:] for part in BLOCK.data(20))
        own, theirs = (
            Objective(BLOCK.model(), BLOCK.data(), batch_size=4, buffers="recalibrate", calibration_data=data) for data in (None, other)
        )
        assert (own.calibration_is_own, theirs.calibration_is_own) == (True, False)
        assert own.fingerprint()["calibration_data"] == own.fingerprint()["data"]
        assert theirs.fingerprint()["calibration_data"] != theirs.fingerprint()["data"]
        (found,) = scored(EagerBackend, theirs, line(theirs, BLOCK.states(2), (0.3,)))
        model = loaded(BLOCK, combined(line(theirs, BLOCK.states(2), (0.3,)), 0))
        recalibrate(model, list(theirs.calibration))
        assert found["loss"] == pytest.approx(plain_scores(model, [BLOCK.data()], "cross_entropy")["loss"], rel=1e-5)

    def test_samples_do_not_thin_the_calibration_data(self) -> None:
        objective = Objective(BLOCK.model(), BLOCK.data(), samples=4, buffers="recalibrate", calibration_data=BLOCK.data())
        assert (objective.batches.survey.rows, objective.calibration.survey.rows) == (4, 10)


def test_a_bfloat16_model_moves_between_neighbouring_values_only_in_float32() -> None:
    def model() -> nn.Module:
        return nn.Linear(1, 1, bias=False).bfloat16()

    states = [{"weight": torch.tensor([[value]], dtype=torch.bfloat16)} for value in (1.0, 1.0078125)]
    losses = {}
    for dtype in (None, "float32"):
        objective = Objective(model(), (torch.ones(2, 1).bfloat16(), torch.zeros(2, 1)), loss="mse", dtype=dtype)
        losses[dtype] = [s["loss"] for s in scored(EagerBackend, objective, line(objective, states, (0.0, 0.25, 1.0)))]
    assert losses[None][0] == losses[None][1] < losses[None][2]
    assert losses["float32"][0] < losses["float32"][1] < losses["float32"][2]


@pytest.mark.parametrize("own_calibration", [True, False])
def test_evaluated_in_another_dtype_is_as_if_made_so(own_calibration: bool) -> None:
    options: dict[str, Any] = {"batch_size": 4, "samples": 7, "buffers": "recalibrate"}
    options["calibration_data"] = None if own_calibration else BLOCK.data(20)
    objective = Objective(BLOCK.model(), BLOCK.data(), **options)
    (state,) = BLOCK.states(1)
    before = objective.score(state)
    other, made_so = objective.evaluated_in("float64"), Objective(BLOCK.model(), BLOCK.data(), dtype="float64", **options)
    assert other.score(state) == made_so.score(state) != before
    found, expected = (scored(EagerBackend, o, line(o, BLOCK.states(2), (0.3,))) for o in (other, made_so))
    assert found == expected
    assert other.fingerprint() == made_so.fingerprint()
    assert other.space == made_so.space
    assert objective.score(state) == before


def scaled(factor: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: factor * F.cross_entropy(outputs, targets, reduction="none")


class TestFingerprint:
    def of(self, case: Case = LINEAR, **options: Any) -> dict[str, Any]:
        return Objective(case.model(), options.pop("data", case.data()), **options).fingerprint()

    def test_is_the_same_for_the_same_call(self) -> None:
        assert self.of() == self.of()
        assert self.of(loss=scaled(2.0)) == self.of(loss=scaled(2.0))

    def test_does_not_depend_on_the_batch_size_or_the_model_s_values(self) -> None:
        assert self.of(batch_size=3) == self.of(batch_size=4)
        assert Objective(LINEAR.model(7), LINEAR.data()).fingerprint() == self.of()

    @pytest.mark.parametrize(
        ("options", "differs"),
        [
            ({"data": LINEAR.data(9)}, "data"),
            ({"data": tuple(part.flip(0) for part in LINEAR.data())}, "data"),
            ({"loss": F.cross_entropy}, "loss"),
            ({"metrics": ()}, "metrics"),
            ({"metrics": {"accuracy": "nll"}}, "metrics"),
            ({"metrics": {"accuracy": lambda x, y: x.argmax(1) == y}}, "metrics"),
            ({"dtype": "float64"}, "dtype"),
            ({"samples": 5}, "samples"),
            ({"seed": 1}, "seed"),
            ({"buffers": "final"}, "buffers"),
        ],
    )
    def test_tells_what_differs(self, options: dict[str, Any], differs: str) -> None:
        one, other = self.of(), self.of(**options)
        assert one[differs] != other[differs]

    def test_tells_another_architecture(self) -> None:
        wider = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        other_kind = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        found = {Objective(m, LINEAR.data()).fingerprint()["model"] for m in (LINEAR.model(), wider, other_kind)}
        assert len(found) == 3

    def test_tells_losses_apart_by_their_options(self) -> None:
        one, other = (self.of(loss=nn.CrossEntropyLoss(label_smoothing=s)) for s in (0.0, 0.1))
        assert one["loss"] != other["loss"]


class TestArguments:
    @pytest.mark.parametrize("model", [None, F.relu, LINEAR.states(1)[0], nn.Linear])
    def test_a_model_must_be_a_module(self, model: Any) -> None:
        with pytest.raises(ObjectiveError, match=r"model must be a torch\.nn\.Module\. Got"):
            Objective(model, LINEAR.data())

    def test_torchscript_is_refused(self) -> None:
        class Scripted(torch.jit.ScriptModule):
            pass

        with pytest.raises(ObjectiveError, match="TorchScript"):
            Objective(Scripted(), LINEAR.data())

    @pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:0:1"])
    def test_devices_that_torch_does_not_have(self, device: str) -> None:
        with pytest.raises(ObjectiveError, match=f'device must be "auto" or one that torch has here.*Got "{device}"'):
            Objective(LINEAR.model(), LINEAR.data(), device=device)

    @pytest.mark.parametrize("dtype", ["float65", "int64", torch.int32, "Tensor", 64])
    def test_dtypes_that_are_not_floating(self, dtype: Any) -> None:
        with pytest.raises(ObjectiveError, match=r'dtype must be a floating one such as "float64"\. Got'):
            Objective(LINEAR.model(), LINEAR.data(), dtype=dtype)

    def test_dtypes_by_name_or_as_torch_has_them(self) -> None:
        for dtype in ("float64", torch.float64):
            assert Objective(LINEAR.model(), LINEAR.data(), dtype=dtype).dtype == torch.float64

    @pytest.mark.parametrize("device", ["auto", "cpu", torch.device("cpu")])
    def test_devices_by_name_or_as_torch_has_them(self, device: str | torch.device) -> None:
        assert Objective(LINEAR.model(), LINEAR.data(), device=device).device == torch.device("cpu")

    def test_an_unknown_buffers_policy(self) -> None:
        with pytest.raises(ObjectiveError, match=r'buffers must be one of auto, path, final, recalibrate\. Got "held"'):
            Objective(LINEAR.model(), LINEAR.data(), buffers="held")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("batch", "what"),
        [
            ({"image": torch.zeros(2, 4), "label": torch.zeros(2)}, "mappings with image, label"),
            ((torch.zeros(2, 4), torch.zeros(2), torch.zeros(2)), "a tuple of Tensor, Tensor, Tensor"),
            (({"image": torch.zeros(2, 4)}, torch.zeros(2)), "a tuple of dict, Tensor"),
            (torch.zeros(2, 4), "a Tensor"),
        ],
    )
    def test_batches_that_are_no_pairs_point_to_from_step(self, batch: Any, what: str) -> None:
        with pytest.raises(ObjectiveError, match=rf"must be \(inputs, targets\). Got {what} instead[\s\S]*from_step"):
            Objective(LINEAR.model(), [batch, batch, batch])

    def test_unknown_losses_and_metrics_are_refused_at_once(self) -> None:
        with pytest.raises(ObjectiveError, match='unknown loss "hinge"'):
            Objective(LINEAR.model(), LINEAR.data(), loss="hinge")
        with pytest.raises(ObjectiveError, match='unknown metric "f1"'):
            Objective(LINEAR.model(), LINEAR.data(), metrics=("f1",))

    def test_accuracy_is_left_out_for_regression(self) -> None:
        model, data = nn.Linear(4, 1), (torch.zeros(3, 4), torch.zeros(3, 1))
        assert list(Objective(model, data, loss="mse").score(model.state_dict())) == ["loss", "samples"]

    def test_says_what_it_is(self) -> None:
        text = repr(Objective(LINEAR.model(), LINEAR.data(), device="cpu"))
        assert text == "Objective(Sequential, 43 parameters, loss=cross_entropy, metrics=accuracy, device=cpu)"


def test_a_model_that_writes_to_its_inputs_is_given_copies() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3))
    inputs, targets = torch.randn(7, 4), torch.randint(3, (7,))
    before = inputs.clone()
    objective = Objective(model, (inputs, targets), batch_size=3)
    scores = [objective.score(model.state_dict()) for _ in range(2)]
    assert torch.equal(inputs, before)
    assert scores[0] == scores[1]


def test_numpy_arrays_are_named_with_the_way_out() -> None:
    chosen = case("linear")
    inputs, targets = chosen.data()
    with pytest.raises(ObjectiveError, match=r"torch tensors. Got NumPy arrays instead: wrap each in torch.from_numpy"):
        Objective(chosen.model(), (inputs.numpy(), targets.numpy()))
