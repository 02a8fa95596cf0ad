"""An interface that a library no longer has is told of at import, by its name and what to do.

Each is taken away in turn: a compatibility module is run again with another name in that place,
or beside a library that is not as it was.
"""

import ast
import importlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from perft.compat.library import Library, names_in
from perft.errors import LibraryError

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "perft/compat"
OURS = ("__init__", "library")
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in OURS)
LINES = (REPOSITORY / "constraints.txt").read_text().splitlines()
PINNED = dict(line.split("==") for line in LINES if "==" in line)
NAMESPACES = ("aten", "nn", "ops", "transformers")
"""On the way to what is looked up: they make whatever they are asked for, or are always there."""


def library_of(module: str) -> Library:
    known = vars(importlib.import_module(f"perft.compat.{module}"))
    return next(value for value in known.values() if isinstance(value, Library))


def lookups(tree: ast.Module) -> Iterator[ast.alias | ast.Attribute]:
    """What is imported and looked up inside of `needs`."""
    for block in tree.body:
        if isinstance(block, ast.With) and "needs" in ast.unparse(block.items[0]):
            for node in (each for line in block.body for each in ast.walk(line)):
                if isinstance(node, ast.alias) or (
                    isinstance(node, ast.Attribute) and is_read(node)
                ):
                    yield node


def is_read(node: ast.Attribute) -> bool:
    return node.attr not in NAMESPACES and isinstance(node.ctx, ast.Load)


def source(module: str) -> ast.Module:
    return ast.parse((FOLDER / f"{module}.py").read_text())


def told(module: str, tree: ast.Module) -> str:
    """What running a compatibility module raises."""
    name = f"perft.compat.{module}"
    with pytest.raises(LibraryError) as error:
        exec(compile(tree, module, "exec"), {"__name__": name})
    line, library = str(error.value), library_of(module)
    assert line.startswith(f"found {library.name} {version(library.name)} without ")
    assert line.endswith(f"pip install '{library.name}=={library.tested}'")
    return line


COUNTS = [(module, n) for module in MODULES for n, _ in enumerate(lookups(source(module)))]


@pytest.mark.parametrize("module", MODULES)
def test_the_version_that_is_named_is_the_one_that_is_pinned(module: str):
    library = library_of(module)
    assert library.tested == PINNED[library.name]


@pytest.mark.parametrize(("module", "number"), COUNTS)
def test_a_name_that_is_gone_is_told(module: str, number: int):
    tree = source(module)
    node = list(lookups(tree))[number]
    gone = "no_such_name"
    if isinstance(node, ast.alias):
        node.name = gone
    else:
        node.attr = gone
    assert gone in told(module, tree)


def without(*names: str, base: type = object) -> Any:
    """A class that has not what another has."""
    return type("Other", (base,), dict.fromkeys(names))


class RenamedLayer(nn.Module):
    """Runs by a function of another name, as after a renaming: gradients would be wrong."""

    gradient_checkpointing = False

    def __init_subclass__(cls) -> None:
        forward = cls.forward

        def recomputed(self: Any, x: Any) -> Any:
            return self._recompute(forward, x) if hasattr(self, "_recompute") else forward(self, x)

        cls.forward = recomputed


def other(*_args: Any, **_options: Any) -> None:
    """Does without all that is relied on."""


SCHEMA = SimpleNamespace(_schema=SimpleNamespace(arguments=[SimpleNamespace(name="input")] * 3))
MOE, LAYERS = "transformers.integrations.moe", "transformers.modeling_layers"
LOADING, QUANTIZERS = "transformers.core_model_loading", "transformers.quantizers"
TUNERS = "peft.tuners.tuners_utils"
CHANGES = [
    ("torch", "torch.ops.aten", "_grouped_mm", SimpleNamespace(default=SCHEMA), "_grouped_mm"),
    ("transformers", LAYERS, "GradientCheckpointingLayer", RenamedLayer, "_gradient_checkp"),
    ("transformers", "transformers.PreTrainedModel", "_set_gradient_checkpointing", other, "_grad"),
    ("transformers", "transformers.masking_utils", "_preprocess_mask_arguments", other, "masks"),
    ("transformers", MOE, "use_experts_implementation", other, "_is_expert_parallel"),
    ("transformers", LOADING, "Transpose", without(), "check_dims"),
    ("transformers", LOADING, "Concatenate", without(), "dim"),
    ("transformers", "transformers.distributed.fsdp", "ALL_FSDP_STYLES", (), "free_full_weight"),
    ("transformers", f"{QUANTIZERS}.quantizer_finegrained_fp8", "FineGrainedFP8HfQuantizer",
     without("validate_environment", "get_load_operations"), "update_weight_conversions"),
    ("transformers", f"{QUANTIZERS}.quantizer_mxfp4", "Mxfp4HfQuantizer",
     without("validate_environment"), "_process_model_before_weight_loading"),
    ("ray", "ray._private.services", "start_monitor", other, "--autoscaling-config="),
    ("ray", "ray._private.services", "start_api_server", other, "--modules-to-load="),
    ("ray", "ray.core.generated.gcs_service_pb2_grpc.NodeInfoGcsServiceStub", "__init__", other,
     "CheckAlive"),
    ("ray", "ray._private.worker.Worker", "raise_errors", other, "RAY_IGNORE_UNHANDLED_ERRORS"),
    ("ray_tune", "ray.tune.execution.class_cache._ActorClassCache", "get", other, "ENV_VARS_TO"),
    ("ray_tune", "ray.tune.experimental.output", "get_air_verbosity", other, "RAY_AIR_NEW_OUTPUT"),
    ("peft", TUNERS, "BaseTuner", without("prefix", "tuner_layer_cls"), "inject_adapter"),
    ("peft", f"{TUNERS}.BaseTuner", "__init__", other, "calls its hooks"),
    ("peft", TUNERS, "BaseTunerLayer", without("adapter_layer_names"), "_active_adapter"),
    ("mlflow", "importlib.util", "find_spec", lambda _: SimpleNamespace(origin="/nowhere/x.py"),
     "db_migrations"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "place", "name", "new", "words"), CHANGES)
def test_what_behaves_otherwise_is_told(
    module: str, place: str, name: str, new: Any, words: str, monkeypatch: pytest.MonkeyPatch
):
    importlib.import_module(f"perft.compat.{module}")
    monkeypatch.setattr(f"{place}.{name}", new)
    assert words in told(module, source(module))


def test_every_check_has_been_tried():
    checks = sum(
        isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".require")
        for module in MODULES
        for node in source(module).body
        for node in ast.walk(node)
    )
    inside_functions = 2  # of peft.add_type and mlflow.schemas
    assert checks - inside_functions <= len(CHANGES)


def test_an_enum_that_takes_no_member_is_told(monkeypatch: pytest.MonkeyPatch):
    from perft.compat import peft

    lists = {"_member_names_": [], "_member_map_": {}, "_value2member_map_": {}}
    monkeypatch.setattr(peft, "PeftType", type("Closed", (str,), lists))
    with pytest.raises(LibraryError, match="to name its method"):
        peft.add_type("OTHER")


def test_migrations_that_name_nothing_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from perft.compat import mlflow

    monkeypatch.setattr(mlflow, "_folder", lambda: tmp_path)
    with pytest.raises(LibraryError, match="migrations that name their revisions"):
        mlflow.schemas()


def test_names_are_found_in_functions_inside_functions():
    def outer() -> Any:
        def inner(self: Any) -> Any:
            return self.deep, "a text"

        return inner

    assert {"inner", "deep", "a text", "self"} <= names_in(outer)


def overridden(own: type) -> set[str]:
    """What a class of perft's has of its own in the place of what a library's has."""
    library = [base for base in own.__mro__ if not base.__module__.startswith("perft")]
    names = {name for name in vars(own) if not name.startswith("__") and name != "_abc_impl"}
    return {name for name in names if any(name in vars(base) for base in library)}


def test_all_that_is_overridden_is_checked():
    from perft import hf_peft
    from perft.compat import peft, transformers
    from perft.models import dequantise

    assert overridden(hf_peft.PerftModel) <= {*peft.TUNER_HOOKS}
    assert overridden(hf_peft.PerftLayer) <= {*peft.LAYER_HOOKS}
    assert overridden(dequantise.Fp8Reader) == {*transformers.FP8_HOOKS}
    assert overridden(dequantise.Mxfp4Reader) == {*transformers.MXFP4_HOOKS}
    assert overridden(dequantise.DequantiseBlocks) == {"convert", "_dequantize_one"}
