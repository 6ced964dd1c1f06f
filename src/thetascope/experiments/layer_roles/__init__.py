"""Critical and ambient layers: what it costs to put one layer back to its first values, or to draw it anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from thetascope.experiments.framework.call_options import Layers, OutPath, Typed, canonical
from thetascope.experiments.framework.declaration import Declaration, Entry
from thetascope.specification import function_named

if TYPE_CHECKING:
    from torch import nn

    from thetascope.results.result import Result
    from thetascope.scoring.objective import Objective
    from thetascope.trajectory import Trajectory


def _function(given: str, _: object) -> Callable[..., Any]:
    return function_named(given, "--init")


def _shown(given: Any) -> str:
    """A result knows the function's name, not its file."""
    return f"FILE.py:{canonical(given)}"


INIT = '"file.py:function": it makes a new model, or initialises the module that it is given, as model.apply takes it.'
InitFunction = Annotated["Callable[[], nn.Module] | Callable[[nn.Module], Any] | None", Typed(str, _function, INIT, _shown)]


def layer_roles(
    objective: Objective | Mapping[str, Objective],
    trajectory: Trajectory,
    draws: int = 5,
    threshold: float = 0.25,
    seed: int = 0,
    layers: Layers = None,
    init: InitFunction = None,
    *,
    out: OutPath = None,
    engine: str = "auto",
    progress: bool = True,
) -> Result:
    """Tell the layers that the training depends on from those it hardly does.

    One layer at a time, all else final, is

    - *re-initialised*: put back to its first values, its floating buffers with it (where the objective takes buffers
      from the path);
    - *re-randomised*: its parameters drawn anew, `draws` times, as the model was initialised (see `init`). Its buffers stay final. A
      tied tensor is drawn once, with the layer that owns it. A draw depends on `seed`, its number and the layer's name, and on
      nothing else: not on which other layers are examined. A layer of which nothing is random (the ones and zeros of a fresh
      normalisation) has one draw, scored once, whatever `draws` says.

    ``share = excess / gain`` is how much of what the training gained in loss is lost by re-initialising: ``excess = reinit_loss −
    final_loss`` and ``gain = min(initial_loss, chance) − final_loss``, where chance is the loss without looking at inputs (the
    entropy of the class frequencies; the variance of the targets), since a fresh network may have any loss. ``share_accuracy`` is
    likewise the lost accuracy over what it gained beyond the most frequent class. A layer is *critical* where either lies above
    `threshold` by two paired standard errors, *ambient* where both lie below by two, else *undecided* (Zhang, Bengio and Singer,
    "Are All Layers Created Equal?", 2019). Němcová (2021, sections 4.1 and 6.2) calls critical layers *robust*.

    Args:
        objective: what to score; several by label, ``{"train": …, "test": …}``, give the result a first dim ``data``.
        trajectory: the recorded states, of which the first and the last are used.
        draws: how many times each layer is drawn anew.
        threshold: the share above which a layer is critical.
        seed: of the draws.
        layers: names or globs, or ``{label: [names or globs]}`` for layers that are put back together; or "blocks" for all
            layers of a block at once (`ParameterSpace.blocks`), or "trainable" for the layers that are not frozen.
        init: how the model was initialised: a function without arguments that makes a new model of the same parameters under torch's
            seed (``lambda: GPT2LMHeadModel(config)``), or one that initialises the module it is given, applied to every module of a
            copy as ``model.apply(init)`` does (``model._init_weights``). What such a function leaves as it is, and without `init`
            everything, is drawn as follows. Tensors whose first values are all the same are put to those. Else the module's own
            ``reset_parameters`` draws, if in 100 of its draws the spread (standard deviation) of the module's largest tensor, and of
            each other of at least 30 scalars, fits the first state's: that is 0.7 to 1.4 times their median, or within 99 % of their
            own range. (Of modules of more than 20,000 scalars 5 draws do, if they agree within 5 %.) Else a normal distribution
            with the mean and the standard deviation of the first values draws, tensor by tensor.
        out: store the result there, unit by unit; the same call then goes on where it stopped.
        engine: "auto", or the name of a backend.
        progress: say what is scored and how long it takes, and show how far it is.

    Returns:
        Over ``layer``: ``reinit_loss``, the metrics likewise, ``reinit_status``; ``distance``, Euclidean, from first to
        last state; ``excess`` and ``excess_se``, its paired standard error; ``share`` and ``share_accuracy``, nan where the training
        gained nothing or a value is not finite (``attrs["undecided"]`` says which); ``role``: "critical", "ambient" or "undecided";
        ``critical_in``: "loss", "accuracy", "both", or ""; ``drawn_from``: "init",
        "reset_parameters", "first state's moments", several of these joined by "and", or "constant" where all first values are constant
        (``redraw`` is the same; ``attrs["drawn_normally"]``: which tensors come from moments, and why); ``distinct_draws``: 1 where
        all draws are the same, else `draws`; ``block``, the block that the layer lies in.
        ``attrs``: ``gain``, ``gain_from`` ("initial" or "chance"), ``chance_loss``, ``chance_accuracy``.
        ``attrs["with_buffers"]``: the layers whose running statistics are put back with them, and stay when they are drawn anew.
        Over (``layer``, ``draw``): ``rerandom_loss``, the metrics likewise, ``rerandom_status``.
        Over ``end`` ("initial", "final"): ``end_loss``, the metrics likewise, ``end_status``: the two states.
        ``attrs["not_called"]``: layers that no forward pass called; a parent may still use their tensors.

    Raises:
        UsageError: draws, threshold or seed are off; `init` fails, changes the objective's own model or does not follow torch's seed.
        TrajectoryError: the trajectory holds only one state.
        StateError: the states do not fit the objective's model; `init` makes another model; a layer that there is not.

    Example:
        >>> result = ts.layer_roles(objective, trajectory, draws=2)
        >>> result.data["role"].dims, result.data["rerandom_loss"].dims
        (('layer',), ('layer', 'draw'))
        >>> set(result.data["role"].values.tolist()) <= {"critical", "ambient", "undecided"}
        True
    """
    return EXPERIMENT.run(locals())


EXPERIMENT = Declaration(
    layer_roles,
    entries=(Entry(40),),
    examples=(
        "layer-roles RUN --objective SPEC",
        "layer-roles RUN --objective SPEC --draws 20 --threshold 0.1",
        "layer-roles RUN --objective SPEC --init model.py:fresh_model",
    ),
    demo_with={"digits quick": {"draws": 2}, "mnist quick": {"draws": 2}},
)
