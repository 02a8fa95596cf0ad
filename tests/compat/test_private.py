"""Outside of perft/compat, nothing is used of a library that it does not document."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
COMPAT = REPOSITORY / "perft/compat"
FILES = [
    path
    for folder in ("perft", "jobs", "search_spaces")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
    if COMPAT not in path.parents
]
DOCUMENTED = {
    "torch": (
        "torch", "torch.distributed", "torch.distributed.device_mesh", "torch.distributed.fsdp",
        "torch.nn", "torch.nn.functional", "torch.utils.checkpoint", "torch.utils.hooks",
    ),
    "transformers": ("transformers", "transformers.utils"),
    "ray": (
        "ray", "ray.actor", "ray.exceptions", "ray.train", "ray.train.torch", "ray.tune",
        "ray.tune.experiment", "ray.tune.logger", "ray.tune.schedulers", "ray.tune.search",
        "ray.util.placement_group", "ray.util.scheduling_strategies",
    ),
    "peft": ("peft",),
    "optuna": (
        "optuna", "optuna.distributions", "optuna.importance", "optuna.samplers", "optuna.storages",
        "optuna.storages.journal", "optuna.study", "optuna.trial",
    ),
    "mlflow": ("mlflow", "mlflow.entities", "mlflow.exceptions"),
    "datasets": ("datasets", "datasets.exceptions"),
}  # fmt: skip
"""The modules of each library that its reference describes, as far as perft imports them."""
OF_PYTHON = {"_asdict", "_exit"}
"""Documented, for all their underscores."""
ASKING = ("delattr", "getattr", "hasattr", "setattr")


def relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def names_of_ours() -> set[str]:
    """Underscore names that perft itself gives to attributes, functions and classes."""
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "same"):
                    found.add(node.attr)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in found if is_private(name)}


KNOWN = names_of_ours() | OF_PYTHON


def private_uses(tree: ast.Module) -> Iterator[str]:
    """What a file uses of its libraries that they do not document."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if not is_documented(each.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            if not is_documented(node.module):
                yield node.module
            if node.module.partition(".")[0] in DOCUMENTED:
                yield from (each.name for each in node.names if is_private(each.name))
        elif isinstance(node, ast.Attribute):
            if (is_private(node.attr) and node.attr not in KNOWN) or ast.unparse(node).startswith(
                ("torch.ops.", "ray.train.v2.")
            ):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ASKING:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if is_private(name) and name not in KNOWN:
                yield ast.unparse(node)


def is_documented(module: str) -> bool:
    library = module.partition(".")[0]
    return library not in DOCUMENTED or module in DOCUMENTED[library]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_what_is_private_goes_through_a_compatibility_module(path: Path):
    found = sorted(set(private_uses(ast.parse(path.read_text()))))
    assert not found, f"move these into perft/compat, or use what is documented: {found}"


@pytest.mark.parametrize(
    "line",
    [
        "import torch._inductor",
        "from ray._private import services",
        "from ray.train.v2.api import config",
        "from transformers.core_model_loading import Transpose",
        "from transformers import _private",
        "from peft.tuners import lora",
        "storage._cdata",
        "self._ot_trials",
        "getattr(module, '_gradient_checkpointing_func', None)",
        "super()._create_default_callbacks()",
        "torch.ops.aten.silu_backward",
    ],
)
def test_a_private_use_is_seen(line: str):
    assert list(private_uses(ast.parse(line)))
