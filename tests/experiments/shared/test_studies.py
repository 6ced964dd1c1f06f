from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from tests.training.test_training import blobs, net, random_states, training
from thetascope import study_epochs, study_test_size, study_train_size
from thetascope.errors import ObjectiveError, ResultError, TrainingError
from thetascope.experiments.shared.recommendations import (
    recommended_epochs,
    recommended_test_size,
    recommended_train_size,
    samples_needed,
    spread_of_rows,
)
from thetascope.experiments.shared.subsets import drawn_subset
from thetascope.experiments.study_test_size.words import WORDS
from thetascope.scoring.per_sample import per_sample_columns
from thetascope.testing.models import case
from thetascope.training.training import Epoch, Training


def assert_same_bits(a: ts.Result, b: ts.Result) -> None:
    assert set(a.data.variables) == set(b.data.variables)
    for name in a.data.variables:
        assert a.data[name].values.tobytes() == b.data[name].values.tobytes(), name


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Watched:
    """Counts the trainings that are begun, and stops one of them after its first epoch."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.stop_at: int | None = None
        original = Training.run

        def run(description: Training, *arguments: Any, **options: Any) -> Iterator[Epoch]:
            indices = options.get("indices")
            self.sizes.append(description.samples if indices is None else len(indices))
            for epoch in original(description, *arguments, **options):
                if epoch.number == 1 and len(self.sizes) == self.stop_at:
                    raise KeyboardInterrupt
                yield epoch

        patch.setattr(Training, "run", run)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


# epochs ------------------------------------------------------------------------------------------------------------


def test_each_epoch_equals_a_training_of_so_many() -> None:
    result = study_epochs(training(), 5, progress=False)
    assert result.data["loss"].dims == ("epochs",)
    assert result.data["epochs"].values.tolist() == [0, 1, 2, 3, 4, 5]
    for n in range(1, 6):
        *_, last = training(epochs=n).run()
        score = training().objective(last.model).score(last.model.state_dict())
        assert float(result.data["loss"].sel(epochs=n)) == score["loss"]
        assert float(result.data["accuracy"].sel(epochs=n)) == score["accuracy"]
    assert float(result.data["loss"][0]) == float(result.data["initial_loss"])
    assert result.data.attrs["samples_scored"] == 17
    assert study_epochs(training(), progress=False).data.sizes["epochs"] == 4  # 0 to the description's three


def test_one_training_is_enough(watched: Watched) -> None:
    study_epochs(training(), 4, progress=False)
    assert watched.sizes == [25]


def test_epochs_go_on_after_an_interruption(tmp_path: Path, watched: Watched) -> None:
    whole = study_epochs(training(), 4, progress=False)
    watched.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        study_epochs(training(), 4, out=tmp_path / "r", progress=False)
    assert ts.load_result(tmp_path / "r").data["status"].values.tolist() == [1, 0, 0, 0, 0]
    assert_same_bits(whole, study_epochs(training(), 4, out=tmp_path / "r", progress=False))
    assert_same_bits(whole, study_epochs(training(), 4, out=tmp_path / "r", progress=False))
    assert len(watched.sizes) == 3  # the finished one is not trained again


def test_a_training_that_comes_out_otherwise_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "r"
    result = study_epochs(training(), 3, out=out, progress=False)
    partly = result.data.copy(deep=True)
    partly["status"].values[2:] = 0
    partly["loss"].values[1] += 0.1
    ts.Result(partly).save(out)
    with pytest.raises(ResultError, match="a stored score does not come out again: stored loss="):
        study_epochs(training(), 3, out=out, progress=False)


def test_training_that_diverges_is_a_result() -> None:
    wild = training(
        model_factory=lambda: nn.Linear(4, 1),
        train_data=(torch.ones(8, 4), torch.ones(8, 1)),
        validation_data=(torch.ones(3, 4), torch.ones(3, 1)),
        loss="mse",
        optimizer_factory=lambda p: torch.optim.SGD(p, lr=1e30),
    )
    result = study_epochs(wild, progress=False)
    assert result.data["status"].values.tolist()[-1] == 2
    assert result.data.attrs["recommendation"] is None
    assert result.data.attrs["rule"].startswith("Undecided: the loss is lowest after 0 of 3 epochs")
    sizes = study_train_size(wild, [4, 8], 2, progress=False)
    assert sizes.data.attrs["recommendation"] is None
    assert "no size is recommended" in sizes.data.attrs["rule"]


# training sizes ----------------------------------------------------------------------------------------------------


def test_each_entry_is_a_training_on_its_subset() -> None:
    result = study_train_size(training(), [20, 6], 2, progress=False)
    assert result.data["loss"].dims == ("size", "repeat")
    assert result.data["size"].values.tolist() == [6, 20]  # in rising order
    for size in (6, 20):
        for repeat in (0, 1):
            *_, last = training().run(indices=torch.from_numpy(drawn_subset(25, size, (0, size, repeat))))
            score = training().objective(last.model).score(last.model.state_dict())
            assert float(result.data["loss"].sel(size=size, repeat=repeat)) == score["loss"]
    np.testing.assert_array_equal(result.data["loss_median"], np.median(result.data["loss"], axis=1))
    initial = training().model()
    assert float(result.data["initial_loss"]) == training().objective(initial).score(initial.state_dict())["loss"]


def test_subsets_are_drawn_without_replacement() -> None:
    subsets = [drawn_subset(50, 20, (0, 20, repeat)) for repeat in range(10)]
    for subset in subsets:
        assert len(set(subset.tolist())) == 20
        assert 0 <= subset.min() <= subset.max() < 50
    assert len({tuple(sorted(subset.tolist())) for subset in subsets}) == 10
    assert set(np.concatenate(subsets).tolist()) == set(range(50))
    np.testing.assert_array_equal(subsets[3], drawn_subset(50, 20, (0, 20, 3)))
    assert sorted(drawn_subset(50, 50, (0, 50, 0)).tolist()) == list(range(50))


def test_each_subset_is_of_the_stated_size_and_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    original = Training.run

    def run(description: Training, *arguments: Any, **options: Any) -> Iterator[Epoch]:
        seen.append(options["indices"].tolist())
        return original(description, *arguments, **options)

    monkeypatch.setattr(Training, "run", run)
    study_train_size(training(), [6, 25], 3, progress=False)
    assert [len(set(indices)) for indices in seen] == [6, 6, 6, 25, 25, 25]
    assert len({tuple(indices) for indices in seen}) == 6  # at the full size the order differs


@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_a_killed_study_trains_only_what_is_missing(tmp_path: Path, watched: Watched, stop_at: int) -> None:
    whole = study_train_size(training(), [5, 12, 25], 2, progress=False)
    assert watched.sizes == [5, 5, 12, 12, 25, 25]
    watched.sizes.clear()
    watched.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        study_train_size(training(), [5, 12, 25], 2, out=tmp_path / "r", progress=False)
    assert ts.load_result(tmp_path / "r").status_counts()["evaluated"] == stop_at - 1
    watched.sizes.clear()
    watched.stop_at = None
    result = study_train_size(training(), [5, 12, 25], 2, out=tmp_path / "r", progress=False)
    assert watched.sizes == [5, 5, 12, 12, 25, 25][stop_at - 1 :]
    assert_same_bits(whole, result)
    assert_same_bits(whole, ts.load_result(tmp_path / "r"))
    watched.sizes.clear()
    again = study_train_size(training(), [5, 12, 25], 2, tolerance=0.5, out=tmp_path / "r", progress=False)
    assert not watched.sizes  # another tolerance needs no training
    assert_same_bits(whole, again)
    assert (again.data.attrs["tolerance"], whole.data.attrs["tolerance"]) == (0.5, 0.1)
    assert again.data.attrs["limit"] > whole.data.attrs["limit"]


def test_another_call_on_the_same_out_names_every_difference(tmp_path: Path) -> None:
    study_train_size(training(), [5, 12], 2, out=tmp_path / "r", progress=False)
    before = files_of(tmp_path / "r")
    other = training(seed=4, batch_size=5, epochs=2, validation_data=blobs(17, seed=9))
    with pytest.raises(ResultError, match="holds the result of another call") as raised:
        study_train_size(other, [5, 13], 3, out=tmp_path / "r", progress=False)
    for name in (
        "data was",
        "states was",
        "training.batch_size was 4, now 5",
        "training.seed was 0, now 4",
        "settings.repeats was 2, now 3",
        "settings.sizes was [5, 12], now [5, 13]",
        "settings.epochs was 3, now 2",
        "training.learning_rates was",
    ):
        assert name in str(raised.value), name
    with pytest.raises(ResultError, match="experiment was study_train_size, now study_epochs"):
        study_epochs(training(), out=tmp_path / "r", progress=False)
    assert files_of(tmp_path / "r") == before


def test_a_changed_model_is_noticed_by_the_initial_score(tmp_path: Path) -> None:
    study_train_size(training(), [5], 1, out=tmp_path / "r", progress=False)

    def hooked() -> nn.Module:
        model = net()
        model.register_forward_hook(lambda module, inputs, outputs: outputs * 1.01)  # what no fingerprint sees
        return model

    with pytest.raises(ResultError, match="does not come out again"):
        study_train_size(training(model_factory=hooked), [5], 1, out=tmp_path / "r", progress=False)


def test_resuming_takes_the_recorded_threads(tmp_path: Path) -> None:
    threads = []

    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        threads.append(torch.get_num_threads())
        return torch.optim.SGD(parameters, lr=0.1)

    described = training(optimizer_factory=optimizer)
    partly = study_train_size(described, [5, 6], 1, progress=False).data.copy(deep=True)
    partly["status"].values[1] = 0
    ts.Result(partly).save(tmp_path / "r")
    torch.set_num_threads(2)
    result = study_train_size(described, [5, 6], 1, out=tmp_path / "r", progress=False)
    assert threads[-1] == result.data.attrs["threads"] == 1
    assert torch.get_num_threads() == 2


def test_studies_leave_the_random_states_alone() -> None:
    model = net()
    objective = ts.Objective(model, blobs())
    before = random_states()
    study_epochs(training(), 1, progress=False)
    study_train_size(training(), [5], 1, progress=False)
    study_test_size(objective, model.state_dict(), [5], 2, progress=False)
    assert random_states() == before
    assert model.training


def test_default_sizes_end_with_all() -> None:
    result = study_train_size(training(train_data=blobs(130), epochs=1, batch_size=50), repeats=1, progress=False)
    assert result.data["size"].values.tolist() == [2, 5, 10, 20, 50, 130]
    model = net()
    sizes = study_test_size(ts.Objective(model, blobs(1000)), model.state_dict(), repeats=2, progress=False).data["size"].values.tolist()
    assert sizes == [50, *range(100, 1001, 100)]


def test_what_will_be_trained_is_said_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thetascope.experiments.shared.trained.LONG_SECONDS", 0.0)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    plain = study_train_size(training(), [5, 12], 2, progress=False)
    assert not capsys.readouterr().err
    shown = study_train_size(training(), [5, 12], 2)
    said = " ".join(capsys.readouterr().err.split())
    assert "training on 5 to 12 samples: 4 trainings of 3 epochs on 5 to 12 samples, 30 optimizer steps on cpu, about" in said
    assert f"12 samples, 2/2: loss {shown.data['loss'].values[1, 1]:.4f}, accuracy" in said
    assert_same_bits(plain, shown)
    study_epochs(training(), 2)
    said = " ".join(capsys.readouterr().err.split())
    assert "performance after 0 to 2 epochs: 2 epochs on 25 samples, 14 optimizer steps on cpu" in said
    assert "epoch 2: loss" in said


# test sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "BatchNorm ResNet block", "tied attention"])
def test_the_full_size_equals_score_without_spread(name: str) -> None:
    chosen = case(name)
    objective = ts.Objective(chosen.model(), chosen.data(), loss=chosen.loss, batch_size=3)
    state = chosen.states(1)[0]
    result = study_test_size(objective, state, [2, 10], 7, progress=False)
    score = objective.score(state)
    for measure in ("loss", "accuracy"):
        full = result.data[measure].sel(size=10).values
        np.testing.assert_allclose(full, score[measure], rtol=0, atol=1e-12)
        assert float(result.data[f"full_{measure}"]) == pytest.approx(score[measure], abs=1e-12)
        assert result.data[f"{measure}_spread"].values[1] == 0.0
    assert result.data["loss_spread"].values[0] > 0


def test_subsets_equal_a_direct_computation() -> None:
    inputs, targets = blobs(30)
    model = net()
    objective = ts.Objective(model, (inputs, targets), batch_size=7)
    result = study_test_size(objective, model.state_dict(), [4, 11], 3, seed=5, progress=False)
    for size in (4, 11):
        for repeat in range(3):
            subset = torch.from_numpy(drawn_subset(30, size, (5, size, repeat)))
            score = ts.Objective(model, (inputs[subset], targets[subset])).score(model.state_dict())
            assert float(result.data["loss"].sel(size=size, repeat=repeat)) == pytest.approx(score["loss"], abs=1e-7)
            assert float(result.data["accuracy"].sel(size=size, repeat=repeat)) == pytest.approx(score["accuracy"], abs=1e-15)
    other = study_test_size(objective, model.state_dict(), [4, 11], 3, seed=6, progress=False)
    assert not np.array_equal(result.data["loss"], other.data["loss"])


def test_padded_positions_weigh_nothing_in_subsets() -> None:
    logits, targets = torch.randn(6, 3, 4), torch.randint(3, (6, 4))
    targets[0, 1:], targets[4] = -100, -100  # one sample counts for one position, one for none
    objective = ts.Objective(nn.Conv1d(3, 3, 1), (logits, targets))
    state = {name: t.detach() for name, t in objective.model.model.state_dict().items()}
    result = study_test_size(objective, state, [1, 6], 12, progress=False)
    assert float(result.data["loss"].values[1, 0]) == pytest.approx(objective.score(state)["loss"], abs=1e-12)
    assert np.isnan(result.data["loss"].values[0]).any()
    assert (result.data["status"].values[0] == 2).any()


def test_values_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = 0

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    model = net()
    study_test_size(ts.Objective(model, blobs(), loss=loss), model.state_dict(), repeats=50, progress=False)
    assert passes == 11  # one pass, seven of the guards, and those that show on some rows that two agree, and how long one takes


def test_drawn_samples_are_the_full_size() -> None:
    model = net()
    objective = ts.Objective(model, blobs(30), samples=12)
    result = study_test_size(objective, model.state_dict(), repeats=3, progress=False)
    assert result.data["size"].values[-1] == 12
    assert float(result.data["full_loss"]) == pytest.approx(objective.score(model.state_dict())["loss"], abs=1e-12)


def loss_that_sees_its_batch(outputs: Tensor, targets: Tensor) -> Tensor:
    """As sums in another order differ from batch size to batch size, but plainly."""
    return nn.functional.cross_entropy(outputs.double(), targets, reduction="none") + 1e-11 * len(targets)


def test_test_sizes_go_on_and_notice_another_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    whole = study_test_size(ts.Objective(model, blobs(30), loss_that_sees_its_batch, batch_size=4), state, [5, 20], 6, progress=False)
    with monkeypatch.context() as patch:
        original = drawn_subset

        def failing(total: int, size: int, seeds: tuple[int, ...]) -> Any:
            if size == 20:
                raise KeyboardInterrupt
            return original(total, size, seeds)

        patch.setattr("thetascope.experiments.study_test_size.experiment.drawn_subset", failing)
        with pytest.raises(KeyboardInterrupt):
            study_test_size(
                ts.Objective(model, blobs(30), loss_that_sees_its_batch, batch_size=4),
                state,
                [5, 20],
                6,
                out=tmp_path / "r",
                progress=False,
            )
    assert ts.load_result(tmp_path / "r").status_counts()["missing"] == 6
    objective = ts.Objective(model, blobs(30), loss_that_sees_its_batch, batch_size=30)  # the stored batch size is the one that counts
    assert_same_bits(whole, study_test_size(objective, state, [5, 20], 6, out=tmp_path / "r", progress=False))
    state["0.weight"] += 1
    with pytest.raises(ResultError, match="states was"):
        study_test_size(objective, state, [5, 20], 6, out=tmp_path / "r", progress=False)


def test_means_are_not_enough() -> None:
    model = net()
    mean = ts.Objective(model, blobs(), loss=nn.functional.cross_entropy)
    with pytest.raises(ObjectiveError, match=r'loss gave one mean a batch. Let it return \[N\] values \(reduction="none"\)'):
        study_test_size(mean, model.state_dict(), progress=False)
    metric = ts.Objective(model, blobs(), metrics={"hits": lambda o, t: (o.argmax(1) == t).double().mean()})
    with pytest.raises(ObjectiveError, match="hits gave one mean a batch"):
        study_test_size(metric, model.state_dict(), progress=False)

    def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return {"loss": model(batch[0]).sum(1), "tokens": torch.ones(3)}

    with pytest.raises(ObjectiveError, match="loss 25, tokens 3"):
        per_sample_columns(ts.Objective.from_step(model, [blobs()], step=step), model.state_dict())


def test_per_sample_values_are_those_of_the_batches() -> None:
    model = net()
    columns = per_sample_columns(ts.Objective(model, blobs(10), batch_size=3), model.state_dict())
    inputs, targets = blobs(10)
    with torch.no_grad():
        expected = nn.functional.cross_entropy(model.eval()(inputs).double(), targets, reduction="none")
    torch.testing.assert_close(columns["loss"].values, expected, rtol=1e-6, atol=1e-7)
    assert columns["accuracy"].values.shape == (10,)


def losses_as_given(values: list[float] | np.ndarray[Any, Any], weights: Any = None) -> tuple[ts.Objective, dict[str, Tensor]]:
    """An objective whose samples have these losses at the state that comes with it."""
    inputs = torch.as_tensor(values, dtype=torch.float64)[:, None]
    data = [(inputs, torch.ones(len(inputs), dtype=torch.float64) if weights is None else torch.as_tensor(weights, dtype=torch.float64))]
    model = nn.Linear(1, 1, bias=False).double()

    def step(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return {"loss": model(batch[0])[:, 0], "weight": batch[1]}

    return ts.Objective.from_step(model, data, step=step), {"weight": torch.ones(1, 1, dtype=torch.float64)}


def test_the_error_on_new_samples_is_their_deviation_over_the_square_root() -> None:
    values = np.random.default_rng(0).gamma(4.0, size=400)
    result = study_test_size(*losses_as_given(values), [100, 200, 400], 5, progress=False)
    expected = values.std(ddof=1) / np.sqrt([100, 200, 400])
    np.testing.assert_allclose(result.data["loss_standard_error"], expected, rtol=1e-12)
    assert result.data["loss_spread"].values[-1] == 0.0  # where a subset is all of them
    assert "loss_bootstrap_error" not in result.data
    assert result.data.attrs["top_share"] == pytest.approx(np.sort(values)[-4:].sum() / values.sum())
    assert result.data.attrs["samples_needed"] == math.ceil((values.std(ddof=1) / (0.05 * values.mean())) ** 2)
    # 5 % of the mean of a gamma distribution of shape 4 are met by 100 samples: (1/2) / 0.05 squared
    assert result.data.attrs["recommendation"] in (100, 200)


def test_new_samples_vary_as_the_standard_error_says() -> None:
    generator = np.random.default_rng(1)
    result = study_test_size(*losses_as_given(generator.exponential(size=5000)), [50, 500, 5000], 5, progress=False)
    for size, error in zip([50, 500], result.data["loss_standard_error"].values, strict=False):
        drawn = generator.exponential(size=(4000, size)).mean(axis=1)
        assert error == pytest.approx(drawn.std(), rel=0.06)


def test_weighted_samples_have_the_error_of_their_ratio() -> None:
    generator = np.random.default_rng(2)
    weights = generator.integers(0, 9, size=60)
    values = generator.normal(3.0, 1.0, size=60)
    result = study_test_size(*losses_as_given(values, weights), [30, 60], 5, progress=False)
    mean = (weights * values).sum() / weights.sum()
    error = np.sqrt((weights**2 * (values - mean) ** 2).sum() * 60 / 59) / weights.sum()
    np.testing.assert_allclose(result.data["loss_standard_error"], error * np.sqrt(60 / np.array([30, 60])), rtol=1e-12)


def test_equal_losses_have_no_error() -> None:
    result = study_test_size(*losses_as_given([0.1 + 0.2] * 37), [10, 37], 5, progress=False)
    assert result.data["loss_standard_error"].values.tolist() == [0.0, 0.0]
    assert result.data.attrs["recommendation"] == 10


def test_a_loss_that_few_samples_carry_goes_by_a_bootstrap() -> None:
    values = np.full(300, 0.01)
    values[[5, 70, 200]] = 10.0  # the top 1 % carry nearly all
    objective, state = losses_as_given(values)
    result = study_test_size(objective, state, [1, 30, 150, 200], 5, seed=3, progress=False)
    assert result.data.attrs["top_share"] == pytest.approx(30 / values.sum())
    error, plain = result.data["loss_bootstrap_error"].values, result.data["loss_standard_error"].values
    assert (error >= plain).all()
    # by how many of the three are among n drawn: binomial, with 97.5 % quantiles of 4 where the mean is 1.5, of 5 where it is 2
    added = (10.0 - 0.01) / np.array([150, 200])
    far = (added * [4, 5] + 0.01 - values.mean()) / 1.96
    np.testing.assert_allclose(error[2:], np.maximum(far, plain[2:]), rtol=0.01)
    assert error[0] == plain[0]  # most subsets of 1 hold none of them, and agree on a wrong value
    assert result.data.attrs["rule"].startswith("Undecided: even 200 of your 300 test samples vary by more than 5 % (bootstrap error")
    again = study_test_size(objective, state, [1, 30, 150, 200], 5, seed=3, progress=False)
    assert_same_bits(result, again)


def test_words_on_test_samples_follow_from_the_numbers() -> None:
    values = np.full(300, 0.01)
    values[:3] = 10.0
    heavy = study_test_size(*losses_as_given(values), [30, 300], 5, progress=False)
    told = " ".join(WORDS.shows(heavy.data))
    assert "The top 1 % of the samples (3) carry 91 % of the loss, so the error goes by a bootstrap." in told
    assert "by a bootstrap, since few samples carry the loss" in WORDS.how(heavy.data)
    light = study_test_size(*losses_as_given(np.linspace(1, 2, 300)), [30, 300], 5, progress=False)
    told = " ".join(WORDS.shows(light.data))
    assert "The top 1 % of the samples (3) carry 1.3 % of the loss, at most 25 %, so the standard error will do." in told
    assert "bootstrap" not in told + WORDS.how(light.data)
    assert WORDS.headline(light.data) == light.data.attrs["rule"]


# rules -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "tolerance", "number"),
    [
        ([2.0, 1.0, 0.52, 0.5, 0.51], 0.05, 2),
        ([2.0, 1.0, 0.52, 0.7, 0.5, 0.51, 0.5], 0.05, 4),  # it comes within the tolerance after 2, and leaves it again
        ([2.0, 1.0, 0.52, 0.5, 0.6], 0.05, None),  # it does not stay
        ([2.0, 1.0, 0.52, 0.5, 0.5], 0.0, 3),
        ([2.0, 1.0, 0.52, 0.5, 0.6], 1.0, 1),
        ([2.0, 1.0, 0.5], 0.05, 2),
        ([1.0, 3.0, 4.0], 0.05, None),
        ([1.0, 1.02, 1.01], 0.05, 0),
        ([2.0, math.nan, 0.5, 0.5], 0.05, 2),
        ([2.0, 0.5, math.nan, 0.5, 0.5], 0.05, 3),
        ([2.0, 0.5, math.inf], 0.05, None),
        ([0.0, -1.94, -2.0], 0.05, 1),  # within 5 % of the size of a negative loss
        ([math.nan, math.inf], 0.05, None),
    ],
)
def test_epochs_after_which_the_loss_stays_within_a_share_of_the_best(losses: list[float], tolerance: float, number: int | None) -> None:
    found = recommended_epochs(losses, tolerance)
    assert found.number == number
    if number is not None:
        assert found.limit is not None
        assert (np.array(losses[number:]) <= found.limit).all()
        assert number == 0 or not losses[number - 1] <= found.limit


def test_the_sentence_on_epochs_says_what_was_found() -> None:
    assert recommended_epochs([2.0, 1.0, 0.52, 0.5, 0.51]).rule == (
        "2 epochs: the fewest after which the loss stays at most 0.525, within 5 % of the best of 4 epochs (0.5 after 3)"
    )
    assert recommended_epochs([2.0, 1.0, 0.52, 0.5, 0.6]).rule == (
        "Undecided: the loss is lowest after 3 of 4 epochs (0.5) but does not stay within 5 % of that: after the last epoch it is 0.6"
    )
    assert recommended_epochs([2.0, 1.0, 0.5]).rule.endswith("whether it stays there, or falls further, is not known")


@pytest.mark.parametrize(
    ("losses", "initial", "tolerance", "number"),
    [
        ([[2.0, 2.2, 9.0], [0.6, 0.7, 5.0], [0.4, 0.5, 0.6]], 2.5, 0.1, 20),  # medians 2.2, 0.7, 0.5; limit 0.7
        ([[2.0, 2.2, 9.0], [0.6, 0.71, 5.0], [0.4, 0.5, 0.6]], 2.5, 0.1, None),  # only the largest would do
        ([[2.0, 2.2, 9.0], [0.6, 0.71, 5.0], [0.4, 0.5, 0.6]], 2.5, 0.0, None),
        ([[0.1, 0.1, 0.1], [0.6, 0.71, 5.0], [0.4, 0.5, 0.6]], 2.5, 0.1, 10),  # a smaller size may be the better one
        ([[math.nan, 0.1, 0.1], [0.6, 0.6, 0.6], [0.4, 0.5, 0.6]], 2.5, 0.1, 20),
        ([[0.1, 0.1, 0.1], [0.6, 0.6, 0.6], [0.4, math.nan, 0.6]], 2.5, 0.1, None),
        ([[2.0, 2.0, 2.0], [3.0, 3.0, 3.0], [4.0, 4.0, 4.0]], 2.5, 0.1, None),  # training makes it worse
        ([[-0.2, -0.2, -0.2], [-0.9, -0.9, -0.9], [-1.0, -1.0, -1.0]], 0.0, 0.1, 20),
    ],
)
def test_train_size_keeps_a_share_of_the_gain(losses: list[list[float]], initial: float, tolerance: float, number: int | None) -> None:
    found = recommended_train_size([10, 20, 1000], losses, initial, tolerance)
    assert found.number == number
    assert found.rule.startswith(
        ("no size is", "Undecided: ") if number is None else f"{number:,} samples: the fewest examined whose median"
    )


def test_a_training_size_is_undecided_where_only_the_largest_would_do() -> None:
    falling = [[2.0], [1.0], [0.5]]
    assert recommended_train_size([10, 20, 1000], falling, 2.5).rule == (
        "Undecided: even 20 samples keep less than 90 % of what training on 1,000 gains (2.5 before, 0.5 after); "
        "whether more samples would gain more is not known"
    )
    alone = recommended_train_size([1000], [[0.5]], 2.5)
    assert alone.number is None
    assert "no smaller size was examined" in alone.rule


@pytest.mark.parametrize(
    ("errors", "full", "tolerance", "number"),
    [
        ([1.4, 0.14, 0.01], 1.0, 0.2, 20),
        ([1.4, 0.14, 0.01], 1.0, 2.0, 10),
        ([1.4, 0.14, 0.01], 1.0, None, None),  # only the largest is within 5 % of 1
        ([1.4, 0.04, 0.01], 1.0, None, 20),
        ([1.4, 0.14, 0.1], 1.0, None, None),  # there are too few
        ([0.0, 0.0, 0.0], 0.0, None, 10),
        ([1.4, 0.14, 0.1], 1.0, 0.0, None),
        ([math.nan, 0.1, 0.01], 1.0, 0.2, 20),
        ([math.nan] * 3, math.nan, None, None),
        ([math.nan] * 3, 1.0, None, None),
    ],
)
def test_test_size_goes_by_the_error_on_new_samples(errors: list[float], full: float, tolerance: float | None, number: int | None) -> None:
    found = recommended_test_size([10, 20, 1000], errors, full, 1000, tolerance)
    assert found.number == number
    if number is None:
        assert found.rule.startswith(("no size is recommended", "Undecided: "))
    else:
        assert found.rule.startswith(f"{number:,} samples: the fewest examined whose loss, on new samples, has a standard error of at most")


def test_the_sentence_on_test_samples_says_when_there_are_too_few() -> None:
    deviation = 0.1 * np.sqrt(340)  # 340 samples vary by 0.1, and 0.1 is 5 % of 2
    sizes = [36, 328, 364]
    only = recommended_test_size(sizes, deviation / np.sqrt(sizes), 2.0, 364)
    assert only.rule == (
        "Undecided: even 328 of your 364 test samples vary by more than 5 % (standard error on new samples 0.102, 5.09 % of the loss); "
        "of the sizes examined only the largest, 364, varies by less"
    )
    few = recommended_test_size(sizes, 10 * deviation / np.sqrt(sizes), 2.0, 364, bootstrap=True)
    assert few.rule == (
        "Undecided: even all 364 of your test samples vary by more than 5 % (bootstrap error on new samples 0.966, 48.3 % of the loss); "
        "about 34,000 are needed"
    )
    assert samples_needed(364, 10 * deviation / np.sqrt(364), 0.1) == 34_000
    part = recommended_test_size([36, 328], [1.0, 0.5], 2.0, 364, 0.2)
    assert part.rule.startswith("Undecided: even 328 of your 364 test samples vary by more than 0.2 (standard error")
    one = recommended_test_size([36], [0.01], 2.0, 364)
    assert one.number is None
    assert one.rule.startswith("Undecided: only 36 of your 364 test samples were examined")


@pytest.mark.parametrize(
    ("error", "limit", "needed"), [(0.2, 0.1, 400), (0.1, 0.1, 100), (0.0, 0.0, 1), (0.1, 0.0, None), (math.nan, 1, None)]
)
def test_samples_needed_fall_with_the_square_root(error: float, limit: float, needed: int | None) -> None:
    assert samples_needed(100, error, limit) == needed


def test_equal_values_have_no_spread_at_all() -> None:
    assert spread_of_rows([[0.1] * 7, [0.1 + 0.2] * 7]).tolist() == [0.0, 0.0]
    np.testing.assert_allclose(spread_of_rows([[1.0, 2.0, 4.0]]), [np.std([1, 2, 4], ddof=1)])
    assert np.isnan(spread_of_rows([[1.0]])).all()


def test_results_carry_their_recommendation(tmp_path: Path) -> None:
    result = study_epochs(training(), 3, tolerance=0.2, out=tmp_path / "e", progress=False)
    expected = recommended_epochs(result.data["loss"].values, 0.2)
    stored = ts.load_result(tmp_path / "e").data.attrs
    assert (stored["recommendation"], stored["rule"], stored["tolerance"]) == (expected.number, expected.rule, 0.2)
    model = net()
    tests = study_test_size(ts.Objective(model, blobs()), model.state_dict(), [5, 25], 9, tolerance=1e9, progress=False)
    assert tests.data.attrs["recommendation"] == 5
    assert "has a standard error of at most 1e+09 (as asked for)" in tests.data.attrs["rule"]


@pytest.mark.parametrize(
    ("study", "options", "message"),
    [
        (study_epochs, {"epochs": 0}, "epochs must be a whole number of at least 1"),
        (study_epochs, {"tolerance": -1}, "tolerance must be a number of at least 0"),
        (study_epochs, {"tolerance": None}, "tolerance must be"),
        (study_train_size, {"sizes": []}, "at least one"),
        (study_train_size, {"sizes": [1.5]}, "whole numbers"),
        (study_train_size, {"sizes": 10}, "must be a list"),
        (study_train_size, {"sizes": [0, 5]}, "1 to 25, the number of training samples"),
        (study_train_size, {"sizes": [5, 26]}, "1 to 25"),
        (study_train_size, {"sizes": [5, 5]}, "must not repeat"),
        (study_train_size, {"repeats": 0}, "repeats must be a whole number of at least 1"),
        (study_test_size, {"sizes": [26]}, "1 to 25, the number of test samples"),
        (study_test_size, {"repeats": 1}, "repeats must be a whole number of at least 2"),
        (study_test_size, {"seed": -1}, "seed must be a whole number of at least 0"),
        (study_test_size, {"tolerance": math.nan}, "tolerance must be"),
    ],
)
def test_bad_arguments_say_what_to_pass(study: Any, options: dict[str, Any], message: str) -> None:
    model = net()
    given = (ts.Objective(model, blobs()), model.state_dict()) if study is study_test_size else (training(),)
    with pytest.raises(TrainingError, match=message):
        study(*given, progress=False, **options)


def test_other_things_than_trainings_are_refused() -> None:
    studies: list[Any] = [study_epochs, study_train_size]
    for study in studies:
        with pytest.raises(TrainingError, match=r"expected a ts\.Training, got Linear"):
            study(nn.Linear(2, 2))
    with pytest.raises(TrainingError, match=r"expected a ts\.Objective, got Training"):
        study_test_size(training(), {})  # type: ignore[arg-type]
