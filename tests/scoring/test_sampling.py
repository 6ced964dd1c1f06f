"""How many samples a pilot asks for, and that they are kept and used."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thetascope as ts
from thetascope.errors import ObjectiveError
from thetascope.scoring.sampling import FILE, LEAST

ROWS = 20_000


def data(rows: int = ROWS, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    inputs = torch.randn(rows, 4)
    return inputs, (inputs @ torch.tensor([1.0, -2.0, 0.5, 0.0]) + spread * torch.randn(rows))[:, None]


def states() -> list[dict[str, Tensor]]:
    return [
        {"weight": torch.zeros(1, 4), "bias": torch.zeros(1)},
        {"weight": torch.tensor([[1.0, -2.0, 0.5, 0.0]]), "bias": torch.zeros(1)},
    ]


def objective(spread: float = 1.0, **options: Any) -> ts.Objective:
    return ts.Objective(nn.Linear(4, 1), data(spread=spread), "mse", samples="auto", **options)


def line(scored: ts.Objective, out: Any = None) -> ts.Result:
    return ts.interpolate(scored, ts.Trajectory.from_states(states()), alphas=[0.0, 0.25, 0.5, 0.75, 1.0], out=out, progress=False)


@pytest.mark.parametrize("precision", [0.1, 0.05, 0.02])
def test_paired_errors_are_within_the_precision_and_no_more_samples_are_taken_than_that_needs(precision: float) -> None:
    found = line(objective(precision=precision)).data
    chosen = found.attrs["sampling"]
    assert (chosen["count"], chosen["of"], chosen["precision"]) == (found.attrs["samples_scored"], ROWS, precision)
    gain = float(found["loss"][0] - found["loss"][-1])
    shares = found["excess_se"].values / [max(gain, loss) for loss in found["loss"].values]
    assert shares.max() < 1.25 * precision  # a pilot of a few hundred knows a spread to a tenth
    inputs, targets = (part[: ROWS // 2] for part in data())
    differences = targets**2 - (targets - inputs @ states()[1]["weight"].T) ** 2
    wanted = float((differences.std() / (precision * max(gain, float(found["loss"][0])))) ** 2)
    assert chosen["count"] == pytest.approx(max(LEAST, wanted), rel=0.35)


def test_fewer_samples_lie_within_more() -> None:
    few, more = (ts.Objective(nn.Linear(4, 1), data(), "mse", samples=n, batch_size=ROWS) for n in (50, 500))
    (inputs, _), (others, _) = few.batches.first(), more.batches.first()
    assert {tuple(row) for row in inputs.tolist()} <= {tuple(row) for row in others.tolist()}
    assert not torch.equal(inputs, data()[0][:50])  # not the first


def test_the_number_is_chosen_once_and_used_by_score_and_later_experiments() -> None:
    scored = objective()
    first = line(scored).data.attrs["samples_scored"]
    assert scored.score(states()[1])["samples"] == first
    assert ts.surface(scored, states()[1], normalize=None, x=(-1, 1, 3), y=(-1, 1, 3), progress=False).data.attrs["samples_scored"] == first
    asked = objective()
    assert LEAST <= asked.score(states()[1])["samples"] <= ROWS


def test_it_is_kept_beside_the_result_and_the_largest_holds(tmp_path: Path) -> None:
    first = line(objective(), out=tmp_path / "a").data.attrs["samples_scored"]
    (identity,) = (kept := json.loads((tmp_path / FILE).read_text()))
    assert kept == {identity: first}
    (tmp_path / FILE).write_text(json.dumps({identity: first + 50}))
    assert line(objective(), out=tmp_path / "b").data.attrs["samples_scored"] == first + 50
    assert line(objective(precision=0.3), out=tmp_path / "c").data.attrs["samples_scored"] < first  # another question
    (tmp_path / FILE).write_text("[broken")
    assert line(objective(), out=tmp_path / "d").data.attrs["samples_scored"] == first


def test_a_stored_result_is_gone_on_with(tmp_path: Path) -> None:
    first = line(objective(), out=tmp_path / "a")
    again = line(objective(), out=tmp_path / "a")
    assert first.data["loss"].values.tolist() == again.data["loss"].values.tolist()


def test_a_run_keeps_it(tmp_path: Path) -> None:
    model = nn.Linear(4, 1)
    with ts.Recorder(tmp_path / "run", model) as recorder:
        model.load_state_dict(states()[1])
        recorder.record(step=1)
    scored = objective()
    found = ts.interpolate(scored, ts.Trajectory(tmp_path / "run"), alphas=3, out="run", progress=False)
    assert list(json.loads((tmp_path / "run" / FILE).read_text()).values()) == [found.data.attrs["samples_scored"]]


def test_all_are_taken_where_so_many_are_needed_or_losses_are_means() -> None:
    found = line(objective(precision=0.001)).data
    assert found.attrs["samples_scored"] == ROWS
    mean = ts.Objective(nn.Linear(4, 1), data(), lambda o, t: ((o - t) ** 2).mean(), metrics=(), samples="auto")
    found = line(mean).data
    assert found.attrs["samples_scored"] == ROWS
    assert found.attrs["sampling"]["reason"] == "losses are not those of single samples"
    assert math.isfinite(float(found["excess_se"][0]))  # over 20 batches


def test_bad_arguments() -> None:
    with pytest.raises(ObjectiveError, match='samples must be a number, "auto" or None'):
        ts.Objective(nn.Linear(4, 1), data(10), "mse", samples="all")  # type: ignore[arg-type]
    with pytest.raises(ObjectiveError, match="precision must be a share"):
        objective(precision=1.5)


def test_several_objectives_each_draw_their_own_number() -> None:
    alone = line(objective()).data
    both = ts.interpolate(
        {"train": objective(), "test": objective(precision=0.02)},
        ts.Trajectory.from_states(states()),
        alphas=[0.0, 0.25, 0.5, 0.75, 1.0],
        progress=False,
    )
    train, test = (both.one(label).data for label in ("train", "test"))
    assert train["loss"].values.tolist() == alone["loss"].values.tolist()
    assert alone.attrs["samples_scored"] == train.attrs["samples_scored"] < test.attrs["samples_scored"] < ROWS
