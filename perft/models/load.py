"""Loads a frozen base and its tokenizer. No code from a model repository is ever run."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from perft.errors import BaseModelError, first_line
from perft.models.auto import auto_class
from perft.models.blocks import activated_parameters
from perft.models.compilers import compiles_by_default, missing_compiler, require_compiler
from perft.models.compiling import compile_regions
from perft.models.implementations import AUTO, require_implementation, use_experts
from perft.models.norms import fuse_norms
from perft.models.precision import NONE, require_precision
from perft.models.quantise import quantise
from perft.models.quiet import quiet
from perft.models.rehearsal import require_complete
from perft.models.sharding import shard, sharded_loading
from perft.models.skeleton import read_config
from perft.models.source import BUILTIN_NAMES, base_directory, check_base, fingerprint
from perft.models.tokenizer import known_ids, load_tokenizer
from perft.models.turn import turn
from perft.models.weight_files import linked_files
from perft.ranks import Ranks

ALONE = Ranks()


@dataclass(frozen=True, repr=False)
class Base:
    """A loaded, frozen base.

    Attributes:
        name: what the user called it; "built-in" for the built-in base.
        model: in evaluation mode, without trainable parameters.
        tokenizer: with a padding token.
        directory: where it was loaded from.
        fingerprint: tells this base from every other one.
        activated: parameters that one token uses, embeddings included.
        quantize: the precision of its large weights, "none" for the dtype's.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    directory: Path
    fingerprint: str
    activated: int
    quantize: str = NONE

    def __repr__(self) -> str:
        total = sum(each.numel() for each in self.model.parameters())
        return (
            f"<Base {self.name}: {type(self.model).__name__}, {total:,} parameters, "
            f"{self.activated:,} activated per token, {self.model.dtype}"
            f"{'' if self.quantize == NONE else f' in {self.quantize}'}, on {self.model.device}>"
        )

    @property
    def positions(self) -> int:
        """Longest sequence that the base takes, in tokens."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 1 << 20))

    @property
    def embeddings(self) -> int:
        """How many token ids the base knows, from 0 on."""
        return known_ids(self.model)


def load_base(
    base: str | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: str = "auto",
    compile: bool | None = None,
    experts: str = AUTO,
    quantize: str = NONE,
    ranks: Ranks = ALONE,
) -> Base:
    """Loads a base; of several ranks, each reads and holds its own part.

    Args:
        base: None for the built-in base, else a local directory or a hub id.
        device: where the weights go.
        dtype: a torch dtype name, or "auto": bf16 on a GPU, fp32 on a CPU.
        compile: whether its regions are compiled (`perft.models.compiling`), lazily for each new
            batch shape; None for yes on a GPU, and no on a CPU or if it is quantised.
        experts: how its experts are computed: "auto", or one of transformers' implementations
            (`perft.models.implementations`).
        quantize: how its large weights are held: "none" for in its dtype, "nf4", "mxfp4", "int8" or
            "fp8" (`perft.models.precision`).
        ranks: the processes that share the base; all of them load it at the same time.

    Raises:
        BaseModelError: if it is missing, not of a supported MoE family, or cannot be loaded.
        ConfigError: if a compiler that it needs is missing, or if its experts cannot be computed,
            or its weights not be quantised, as asked for.
    """
    device = torch.device(device)
    require_precision(quantize, compile=compile, workers=ranks.size)
    if compile:
        require_compiler(missing_compiler(device.type))
    if experts != AUTO:
        require_implementation(experts, training=False, quantize=quantize)
    check_base(base)
    directory = base_directory(base)
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    if quantize != NONE:
        compile = False
    with loading_on(device, ranks):
        model = _load(directory, dtype, ranks, bars=base is not None)
        tokenizer = load_tokenizer(directory, known_ids(model))
        quantise(model, quantize)
        make_ready(model, device, experts=experts, compile=compile, ranks=ranks)
    return Base(
        base or BUILTIN_NAMES[0],
        model,
        tokenizer,
        directory,
        fingerprint(directory),
        activated_parameters(model),
        quantize,
    )


def loading_on(device: torch.device, ranks: Ranks) -> AbstractContextManager[None]:
    """Inside, weights may go through the host's memory to a device.

    Processes with a GPU each take turns. On CPUs the base stays in the host's memory anyway, and
    ranks that share one read a part each, at the same time.
    """
    takes_turns = device.type != "cpu" and ranks.size == 1
    return turn() if takes_turns else nullcontext()


def _load(directory: Path, dtype: str, ranks: Ranks, *, bars: bool) -> PreTrainedModel:
    config = read_config(directory)
    # Whatever the default device; the linked folder holds only the files that were checked.
    with torch.device("cpu"), linked_files(directory) as folder, quiet(bars=bars):
        try:
            model, report = auto_class(config).from_pretrained(
                folder,
                config=config,
                **sharded_loading(str(directory), ranks),
                dtype=dtype,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except Exception as error:  # of any type: each family has code of its own
            raise BaseModelError(
                f"base {str(directory)!r} cannot be loaded: {first_line(error)}"
            ) from error
    require_complete(report, str(directory))
    model.name_or_path = model.config.name_or_path = str(directory)
    return model


def make_ready(
    model: PreTrainedModel,
    device: torch.device,
    *,
    experts: str = AUTO,
    compile: bool | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Prepares a base for perft: frozen, on its device, with the kernels that suit it.

    Args:
        model: with its weights.
        device: where the weights go.
        experts: as in `load_base`.
        compile: as in `load_base`.
        ranks: the processes that share the base.
    """
    use_experts(model, experts)
    model.requires_grad_(False).eval().to(device)
    shard(model, ranks)
    if device.type == "cuda" and ranks.size == 1:  # sharded norms cannot be tried out
        fuse_norms(model)
    if compile or (compile is None and compiles_by_default(device.type)):
        compile_regions(model)
