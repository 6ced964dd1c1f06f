"""Trainings by Hugging Face's Trainer, recorded by one line; what is recorded is compared with a loop in plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import thetascope as ts
from tests.integrations.compared import assert_equal
from tests.processes import together
from thetascope.errors import RecordingError
from thetascope.recording.run_directory import RunDirectory

if TYPE_CHECKING:
    import transformers

    from thetascope.integrations.transformers import RecorderCallback
else:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from thetascope.integrations.transformers import RecorderCallback

pytestmark = pytest.mark.filterwarnings("ignore")
transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
ROWS, BATCH = 24, 4


def gpt2() -> Any:
    torch.manual_seed(0)
    sizes: Any = {"vocab_size": 50, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))


def rows() -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    found = [torch.randint(1, 50, (8,), generator=draw) for _ in range(ROWS)]
    return [{"input_ids": row, "labels": row} for row in found]


class InOrder(transformers.Trainer):
    """No shuffling, so that a loop in plain torch sees the same batches."""

    def _get_train_sampler(self, *_: Any) -> Any:
        data: Any = self.train_dataset
        return torch.utils.data.SequentialSampler(data)


class Failing(transformers.TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 4:
            raise ValueError("as it was asked to")


def train(
    run: Path, every: Any = "epoch", *, epochs: int = 2, resume: Any = None, also: Any = (), model: Any = None, **options: Any
) -> Any:
    recorder = {name: options.pop(name) for name in ("max_states", "trainable_only") if name in options}
    chosen: dict[str, Any] = {"save_strategy": "no", "logging_steps": 2, "eval_strategy": "epoch"} | options
    arguments = transformers.TrainingArguments(
        str(run.parent / "out"),
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=0.1,
        optim="sgd",
        max_grad_norm=0.0,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **chosen,
    )
    trainer = InOrder(
        gpt2() if model is None else model,
        arguments,
        train_dataset=rows(),
        eval_dataset=rows()[:8],
        callbacks=[RecorderCallback(run, every, **recorder), *also],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def plain(run: Path, at: set[int], *, epochs: int = 2, accumulate: int = 1) -> None:
    """The same training as a loop, recorded after the steps in `at`."""
    model, step, per_epoch = gpt2().train(), 0, ROWS // BATCH // accumulate
    total = epochs * per_epoch
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ts.Recorder(run, model) as recorder:
        for epoch in range(epochs):
            ids = torch.split(torch.stack([row["input_ids"] for row in rows()]), BATCH)
            for place in range(per_epoch):
                parts = ids[place * accumulate : (place + 1) * accumulate]
                counted = torch.tensor(float(sum(part.numel() for part in parts)))  # the Trainer counts first tokens too
                for part in parts:
                    model(input_ids=part, labels=part, num_items_in_batch=counted).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                optimizer.param_groups[0]["lr"] = 0.1 * ((total - step) / total)
                if step in at:
                    recorder.record(step=step, epoch=epoch + (place + 1) / per_epoch)


def metrics_of(run: Path) -> dict[int, dict[str, float]]:
    return {record.step: record.metrics for record in RunDirectory.open(run).read_log().records.values()}


@pytest.mark.parametrize(("every", "at"), [("epoch", {6, 12}), (4, {4, 8, 12}), (5, {5, 10, 12})])
def test_states_are_those_of_a_plain_loop_bit_for_bit(tmp_path: Path, every: Any, at: set[int]) -> None:
    train(tmp_path / "run", every)
    plain(tmp_path / "plain", at)
    assert_equal(tmp_path / "run", tmp_path / "plain")


def test_steps_of_the_optimizer_are_counted(tmp_path: Path) -> None:
    train(tmp_path / "run", 2, gradient_accumulation_steps=2)
    plain(tmp_path / "plain", {2, 4, 6}, accumulate=2)
    assert_equal(tmp_path / "run", tmp_path / "plain")


def test_metrics_are_those_of_the_state(tmp_path: Path) -> None:
    trainer = train(tmp_path / "run", 3, eval_on_start=True, max_states=2)
    found = metrics_of(tmp_path / "run")
    assert [step for step in found if "eval_loss" in found[step]] == [0, 6, 12]
    logs = {log["step"]: log for log in trainer.state.log_history if "loss" in log}
    evaluations = {log["step"]: log for log in trainer.state.log_history if "eval_loss" in log}
    assert {s: found[s]["eval_loss"] for s in (0, 6, 12)} == {s: evaluations[s]["eval_loss"] for s in (0, 6, 12)}
    assert {s: found[s]["loss"] for s in (3, 6, 9, 12)} == {
        3: logs[2]["loss"],
        6: logs[6]["loss"],
        9: logs[8]["loss"],
        12: logs[12]["loss"],
    }
    assert found[12]["learning_rate"] == logs[12]["learning_rate"]
    assert set(found[12]) == {"loss", "grad_norm", "learning_rate", "eval_loss"}


def test_a_resumed_training_goes_on_in_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="as it was asked to"):
        train(tmp_path / "run", 2, save_strategy="steps", save_steps=3, also=[Failing()])
    train(tmp_path / "run", 2, save_strategy="steps", save_steps=3, resume=True)
    train(tmp_path / "whole", 2)
    assert_equal(tmp_path / "run", tmp_path / "whole")
    assert metrics_of(tmp_path / "run")[12]["eval_loss"] == metrics_of(tmp_path / "whole")[12]["eval_loss"]


def test_the_last_state_is_recorded_before_the_best_is_loaded(tmp_path: Path) -> None:
    best: dict[str, Any] = {
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": True,
        "save_strategy": "epoch",
    }
    trainer = train(tmp_path / "run", **best)
    plain(tmp_path / "plain", {6, 12})
    assert_equal(tmp_path / "run", tmp_path / "plain")
    assert trainer.state.best_model_checkpoint.endswith("-6")
    assert torch.equal(trainer.model.lm_head.weight, ts.Trajectory(tmp_path / "run")[1]["transformer.wte.weight"])


def test_an_error_in_the_training_leaves_the_run_to_the_next(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="as it was asked to"):
        train(tmp_path / "run", 2, also=[Failing()])
    train(tmp_path / "run", 2)  # in the same process, from the beginning
    plain(tmp_path / "plain", {2, 4, 6, 8, 10, 12})
    assert_equal(tmp_path / "run", tmp_path / "plain")


def _two(run: Path) -> None:
    train(run, 3, ddp_backend="gloo")


def test_two_processes(tmp_path: Path) -> None:
    assert together(tmp_path, _two, tmp_path / "run") == []
    assert ts.Trajectory(tmp_path / "run").steps == [0, 3, 6]  # an epoch has half as many steps
    assert set(metrics_of(tmp_path / "run")[6]) == {"loss", "grad_norm", "learning_rate", "eval_loss"}


def test_another_model_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", epochs=1)
    other = transformers.GPT2LMHeadModel(transformers.GPT2Config(**(gpt2().config.to_dict() | {"n_layer": 1})))
    with pytest.raises(RecordingError, match="records another model"):
        train(tmp_path / "run", epochs=1, model=other)
