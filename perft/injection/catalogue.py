"""The MoE families that perft supports, and the variants that fit them: prints docs/models.md.

    python -m perft.injection.catalogue > docs/models.md

The table is generated: each family's smallest base is built without memory for its weights, and
every variant is tried on it.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from transformers.utils import logging

from perft.adapters.declaration import Variant
from perft.adapters.table import TABLE
from perft.errors import BaseModelError, listed
from perft.injection.host import AdapterHost
from perft.models.blocks import MoEBlock
from perft.models.families import FAMILIES, UNSUPPORTED
from perft.models.skeleton import skeleton_of
from perft.models.tiny import tiny_config


def _columns() -> dict[str, Variant]:
    """One variant for each column of verdicts; variants on the same modules share one."""
    alike: dict[tuple[object, ...], list[Variant]] = {}
    for variant in TABLE.values():
        where = variant.attach, variant.projections, variant.needs_base_routing
        alike.setdefault(where, []).append(variant)
    return {", ".join(v.label for v in variants): variants[0] for variants in alike.values()}


_COLUMNS = _columns()
_HEAD = ("model type", "MoE block", "router", *_COLUMNS, "remarks")

_TEXT = """\
# Model families

{supported} of the {total} MoE model types behind `AutoModelForCausalLM`, `AutoModelForSeq2SeqLM`
and `AutoModelForMultimodalLM` are supported. This page is what `make models` prints; nothing in its
tables is written by hand.

A block is found by its structure, a router beside experts; layers without one are skipped, and
shared experts stay part of the base (they count as activated). What a router does (softmax or
sigmoid, groups, correction biases, scaling factors) is left to the family: PERFT-E reads the
weights where the block hands them to its experts, times the factor that some blocks multiply the
experts' sum with. "yes" means that the contract suite, `pytest tests/contracts -m "families or not
families"`, has tried it.

{families}

{everywhere} go beside every block. Why there is no
- E: the experts are looked up by token id, in these layers or in all of them;
- LoRA q,v: the attention has no query or no value projection of its own;
- LoRA on the router: the router is not one matrix;
- LoRA on the experts: they are not fused weights that are told each token's choice.

Asking for one of these anyway is refused, with an error that names block and reason.

## Remarks

- *weighs inputs*: the base computes E_i(G_i x) where others compute G_i E_i(x). PERFT-E keeps
  to its equation: the PEFT expert's output is multiplied by the routing weight, its input is not.
- *beside the experts*: the family has no module for the block. `x` is what enters the experts, and
  the PEFT output is added to theirs, before the norm that follows.
- *encoder and decoder*: adapters go beside the blocks of both, and `AdapterHost` works as always.
  Searches and jobs train causal language models and refuse these before anything is loaded. Both
  families drop tokens when an expert is over capacity, Switch by row; NLLB does so by batch, in
  training mode only, so there alone a row's answer depends on its neighbours.
- *sees or hears, too*: the whole model is loaded and frozen, and trained on text. What sees or
  hears takes memory, and does not count as activated.
- NLLB-MoE's experts, in the installed transformers, take a mask for indices and so send every token
  to experts 0 and 1. PERFT-E follows the router: its two best experts, over the sum of both.
- JetMoE routes its attention too. Adapters go beside its MLP blocks; of both, the experts that a
  token uses count as activated.
- LongCat has experts without weights, which pass their input on; PERFT-E gives these a PEFT expert
  as well. Where a router has a class for "no expert" (ZAYA), no PEFT expert answers it.
- Mistral Large 4's LoRA on the router or the experts is for perft: `peft` 0.21 renames these paths
  when it loads them, and warns of missing keys, also of an adapter that it saved itself.
- Routers with noise or dropout of their own have it in training mode here too.

## Forms in which a base may be stored

- Weights in safetensors, in one file or in those that an index names. All headers are checked, and
  the loading is rehearsed on tensors without content, before a worker starts. Nothing else in the
  directory is read: pickled weights, code, or a LoRA that was left there, which a line tells of.
- fp8 in blocks, fp8 of compressed-tensors and the mxfp4 of gpt_oss are dequantised when they are
  loaded, on every machine; a line says what memory that takes. Where several ranks share a base in
  fp8, each reads all of it before it is divided. Other formats are refused by name.
- Whatever the files hold, `--quantize nf4|mxfp4|int8|fp8` keeps the large weights in fewer bits
  once they are loaded ([performance.md](performance.md#a-base-in-fewer-bits)), also what was
  dequantised: what is stored in mxfp4 is the same to the bit in mxfp4.
- A `tokenizer.json`, or a `tokenizer.model` of SentencePiece. What the tokenizer puts before a text
  is kept, in training, generation and likelihood. A text with a token that the base has no
  embedding for is refused, and named; padding may have any id, since it is masked.

## Not supported

{unsupported}

Types that are not listed are dense, and refused by name.
"""


def main() -> None:
    """Prints the page."""
    logging.set_verbosity_error()
    sys.stdout.write(catalogue())


def catalogue() -> str:
    """The page on model families, in Markdown."""
    return _TEXT.format(
        supported=len(FAMILIES),
        total=len(FAMILIES) + len(UNSUPPORTED),
        everywhere=listed((v.label for v in TABLE.values() if v.fits_every_block), "and"),
        families=_table(_HEAD, [_row(model_type) for model_type in sorted(FAMILIES)]),
        unsupported=_table(
            ("model type", "reason"), [(f"`{name}`", why) for name, why in UNSUPPORTED.items()]
        ),
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(model_type: str) -> list[str]:
    host = AdapterHost(skeleton_of(tiny_config(model_type)))
    paths = sorted({f"`{re.sub(r'[.][0-9]+', '.N', block.name)}`" for block in host.blocks})
    routers = dict.fromkeys(_router(block, host.model.config) for block in host.blocks)
    verdicts = [_verdict(host, variant) for variant in _COLUMNS.values()]
    remarks = ", ".join(_remarks(host))
    return [f"`{model_type}`", ", ".join(paths), "; ".join(routers), *verdicts, remarks]


def _verdict(host: AdapterHost, variant: Variant) -> str:
    try:
        host.size(variant.example)
    except BaseModelError:
        partly = variant.needs_base_routing and not all(b.hashed for b in host.blocks)
        return "some layers" if partly else "no"
    return "yes"


def _router(block: MoEBlock, config: Any) -> str:
    if block.hashed:
        return "by token id"
    source = inspect.getsource(type(block.router))
    return ", ".join([_score(source, config.get_text_config()), *_features(source, block)])


def _score(source: str, config: Any) -> str:
    for key in ("scoring_func", "expert_selection_fn"):
        if hasattr(config, key):
            return str(getattr(config, key))
    return next((kind for kind in ("sigmoid", "sparsemixer") if kind in source), "softmax")


def _features(source: str, block: MoEBlock) -> Iterator[str]:
    if "num_group" in source:
        yield "groups"
    if re.search("correction_bias|expert_bias|balancing_biases|moe_statics", source):
        yield "bias"
    if any("shared" in name for name, _ in block.module.named_children()):
        yield "shared experts"


def _remarks(host: AdapterHost) -> Iterator[str]:
    block, config = host.blocks[0], host.model.config
    if block.family.routing == "input scores":
        yield "weighs inputs"
    if block.entry is not block.module:
        yield "beside the experts"
    if block.family.encoder_decoder:
        yield "encoder and decoder"
    if block.family.multimodal and config.get_text_config() is not config:
        yield "sees or hears, too"


if __name__ == "__main__":
    main()
