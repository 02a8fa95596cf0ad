"""Options that several commands have, so that they read the same everywhere, and their ranges."""

import contextlib
import math
import pkgutil
from typing import Annotated, Literal

import typer

LARGEST_SEED = 2**32 - 1
"""The largest seed that NumPy, and so Optuna, takes."""

MAX_STEPS = 10_000_000
MAX_TRIALS = 100_000
"""Most trials of a search."""
MAX_SLOTS = 1000
"""Most trials of one group at a time."""

Dtype = Literal["auto", "float32", "bfloat16", "float64"]
"""What `--dtype` takes."""

Precision = Literal["none", "nf4", "mxfp4", "int8", "fp8"]
"""What `--quantize` takes."""


def search_names(incomplete: str) -> list[str]:
    """The searches that this machine knows whose names begin so, for a shell to complete."""
    from perft.searches import known_searches  # noqa: PLC0415 - slow, and needed there alone

    return known_searches(incomplete)


def space_names(incomplete: str) -> list[str]:
    """The search spaces that perft brings whose names begin so, for a shell to complete."""
    import search_spaces  # noqa: PLC0415 - as above

    names = [module.name for module in pkgutil.iter_modules(search_spaces.__path__)]
    return [name for name in names if name.startswith(incomplete)]


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="Print the last line and errors, and nothing else.")
]
NameOption = Annotated[str, typer.Option(help="Name of the search.", autocompletion=search_names)]
BaseOption = Annotated[
    str | None,
    typer.Option(help="Base: a hub id or a local directory.", show_default="built-in"),
]
DataOption = Annotated[
    str | None,
    typer.Option(help="Directory in the LLM-Adapters layout, or hub.", show_default="built-in"),
]
DtypeOption = Annotated[Dtype, typer.Option(help="Dtype of the base.")]
ExpertsOption = Annotated[
    str,
    typer.Option(
        help="How the base's experts are computed: auto, eager, or another of transformers' "
        "(grouped_mm, batched_mm, sonicmoe, deepgemm)."
    ),
]
QuantizeOption = Annotated[
    Precision,
    typer.Option(
        help="Hold the frozen base's large weights in 4 or 8 bits, for a larger base on one GPU; "
        "it then runs uncompiled."
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        help="Directory or URI that holds searches.",
        show_default="where this machine knows the search",
    ),
]
CheckpointingOption = Annotated[
    bool,
    typer.Option(
        "--checkpointing", help="Run the base's layers again in the backward pass, to save memory."
    ),
]
CompileOption = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the base, a minute once, for faster steps.",
        show_default="on GPUs",
    ),
]
RungAccuracyOption = Annotated[
    bool | None,
    typer.Option(
        "--rung-accuracy/--no-rung-accuracy",
        help="Generate answers at every rung, not only at full length.",
        show_default="only on the built-in base",
    ),
]
ValidationSizeOption = Annotated[
    int, typer.Option(min=1, max=1_000_000, help="Validation examples.")
]
WorkersOption = Annotated[
    int, typer.Option(min=1, max=10_000, help="Processes that share one sharded base.")
]
NewNameOption = Annotated[
    str | None,
    typer.Option(
        help="Name of the search: letters, digits, '.', '_' and '-'.",
        show_default="space and time",
    ),
]
NewStorageOption = Annotated[
    str | None,
    typer.Option(help="Directory or URI for searches.", show_default="~/.perft/searches"),
]
GroupsOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=10_000, help="Worker groups, one base each.", show_default="fit the cluster"
    ),
]
SlotsOption = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Trials a group trains together; auto: as many as a GPU's memory holds, up to 8, "
        "and on CPUs 4 in all.",
    ),
]
GpusOption = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="GPUs of each worker: 1, a part of one, or 0 for CPUs; with a number the search "
        "asks the cluster's autoscaler and waits. auto: 1 where the cluster has GPUs, or can "
        "bring them up.",
    ),
]
MaxStepsOption = Annotated[
    int | None,
    typer.Option(
        min=2, max=MAX_STEPS, help="Steps of a full-length trial.", show_default="the space's"
    ),
]
SearchSeedOption = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the search.")]
OtherTextOption = Annotated[
    list[str] | None,
    typer.Option(
        "--other-text",
        metavar="TEXT",
        help="Measure what full-length trials forget of it: a text file, pretraining (what the "
        "built-in base has read), or a built-in task; may be repeated.",
        show_default="none",
    ),
]
TrackerOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What shows the search beside its folder: mlflow, or folder (tables in tracked/).",
    ),
]


def number_of_slots(slots: str) -> int | None:
    """What `--slots` says; None for auto."""
    if slots == "auto":
        return None
    if not (slots.isdecimal() and len(slots) < 10 and 0 < int(slots) <= MAX_SLOTS):
        message = f"{slots!r} is neither a number from 1 to {MAX_SLOTS} nor auto."
        raise typer.BadParameter(message, param_hint="'--slots'")
    return int(slots)


def number_of_gpus(text: str) -> float | None:
    """What `--gpus-per-worker` says; None for auto."""
    if text == "auto":
        return None
    with contextlib.suppress(ValueError):
        if math.isfinite(found := float(text)) and found >= 0:
            return found
    message = f"{text!r} is neither a number from 0 on nor auto."
    raise typer.BadParameter(message, param_hint="'--gpus-per-worker'")
