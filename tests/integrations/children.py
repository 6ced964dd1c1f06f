"""Processes that log to one tracker and read back what it wrote, as JSON: ``python -m tests.integrations.children KIND RUN OUT``."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integrations.runs import ODD, odd


def tensorboard(run: Path, out: Path) -> dict[str, Any]:
    """Through torch's writer, read by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    import thetascope as ts

    with SummaryWriter(str(out)) as writer:
        for step in range(0, 40, 5):
            writer.add_scalar("loss", 1 / (1 + step), step)
        names = ts.log_findings(run, to=writer)
        ts.log_findings({ODD: odd(run)}, to=writer, prefix="again", step=77)
    events = EventAccumulator(str(out), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    return {
        "names": names,
        "scalars": {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags["scalars"]},
        "texts": {
            tag.removesuffix("/text_summary"): [(e.step, e.tensor_proto.string_val[0].decode()) for e in events.Tensors(tag)]
            for tag in tags["tensors"]
        },
        "images": {tag: [(event.step, event.width, event.height) for event in events.Images(tag)] for tag in tags["images"]},
    }


def mlflow(run: Path, out: Path) -> dict[str, Any]:
    """Into a store of files, or into a database: where `out` ends in .db."""
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    import mlflow as library

    import thetascope as ts

    library.set_tracking_uri(f"sqlite:///{out}" if out.suffix == ".db" else out.as_uri())
    library.set_experiment(experiment_id=library.create_experiment("tests", artifact_location=(out.parent / f"{out.name}-files").as_uri()))
    with library.start_run(run_name="a training") as active:
        for step in range(0, 100, 20):
            library.log_metric("loss", 1 / (1 + step), step=step)
        names = ts.log_findings(run, to=library)
        ts.log_findings({ODD: odd(run)}, to=[library], prefix="again", step=77)
    client = library.MlflowClient()
    found = client.get_run(active.info.run_id)
    files = Path(library.artifacts.download_artifacts(run_id=active.info.run_id, dst_path=str(out.parent / f"{out.name}-read")))
    return {
        "names": names,
        "metrics": {
            name: sorted((metric.step, metric.value) for metric in client.get_metric_history(active.info.run_id, name))
            for name in found.data.metrics
        },
        "tags": {name: text for name, text in found.data.tags.items() if not name.startswith("mlflow.")},
        "files": {str(file.relative_to(files)): file.read_text("utf-8")[:200] if file.suffix == ".csv" else file.stat().st_size
                  for file in sorted(files.rglob("*")) if file.is_file()},
        "ended": library.active_run() is None,
    }  # fmt: skip


def wandb(run: Path, out: Path) -> dict[str, Any]:
    """Into an offline run that has gone on beyond the training's last step."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(out)}
    import wandb as library

    import thetascope as ts

    out.mkdir()
    settings = library.Settings(x_disable_stats=True, x_disable_meta=True, console="off")
    active = library.init(mode="offline", dir=str(out), project="tests", settings=settings)
    for step in range(0, 500, 100):
        active.log({"loss": 1 / (1 + step)}, step=step)
    names = ts.log_findings(run, to=active)
    ts.log_findings({ODD: odd(run)}, to=library, prefix="again", step=77)
    active.finish()
    from wandb.proto import wandb_internal_pb2

    history, metrics, artifacts = [], [], []
    (file,) = out.glob("wandb/offline-run-*/*.wandb")
    for content in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            history.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item})
        elif kind == "metric":
            metrics.append([record.metric.name or record.metric.glob_name, record.metric.step_metric])
        elif kind == "artifact" and record.artifact.type == "report":
            artifacts.append([record.artifact.name, [entry.path for entry in record.artifact.manifest.contents]])
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            artifact = record.request.log_artifact.artifact
            artifacts.append([artifact.name, [entry.path for entry in artifact.manifest.contents]])
    media = sorted(str(path.relative_to(file.parent / "files")) for path in (file.parent / "files").rglob("media/**/*.*"))
    return {"names": names, "history": history, "metrics": metrics, "artifacts": artifacts, "media": media}


BLOCK = 32768


def records(log: bytes) -> Iterator[bytes]:
    """Of a .wandb file: a mark of 7 bytes, then LevelDB's log format: blocks of pieces, each with a checksum, a length and a kind."""
    assert log[:4] == b":W&B"
    at, whole = 7, b""
    while at + 7 <= len(log):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack("<HB", log[at + 4 : at + 7])
        piece, at = log[at + 7 : at + 7 + length], at + 7 + length
        whole = piece if kind in (1, 2) else whole + piece
        if kind in (1, 4):
            yield whole


if __name__ == "__main__":
    kind, run, out = sys.argv[1:]
    print("told:" + json.dumps({"tensorboard": tensorboard, "mlflow": mlflow, "wandb": wandb}[kind](Path(run), Path(out))))
