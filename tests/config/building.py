"""Adapter configurations for tests: one class per variant, and any valid configuration."""

from hypothesis import assume
from hypothesis import strategies as st

from perft.adapters.forms import FORMS
from perft.adapters.table import TABLE
from perft.config import VARIANTS, AdapterConfig

CLASSES = {name: variant.config for name, variant in TABLE.items()}
ACTIVATIONS = ["gelu", "gelu_pytorch_tanh", "relu", "relu2", "silu", "tanh"]
NEEDED = {"perft-r": {"num_experts": 4, "top_k": 2}, "perft-d": {"num_experts": 4}}


def build(variant: str, **settings: object) -> AdapterConfig:
    """A configuration from what it needs and `settings`."""
    return CLASSES[variant](**{"rank": 4, **NEEDED.get(variant, {}), **settings})


@st.composite
def adapters(draw: st.DrawFn) -> AdapterConfig:
    """Any valid adapter configuration."""
    variant = draw(st.sampled_from(VARIANTS))
    settings: dict[str, object] = {
        "rank": draw(st.integers(1, 512)),
        "alpha": draw(st.none() | st.floats(1e-3, 1e3)),
        "init": draw(st.sampled_from(["lora", "perft"])),
        "layers": draw(st.sampled_from(["all", "last:2", "every:3", "0,3,5"])),
        "base_balance": draw(st.floats(0, 10)),
    }
    if CLASSES[variant].drops:
        settings["dropout"] = draw(st.floats(0, 1, exclude_max=True))
    if variant.startswith("perft-"):
        settings["form"] = draw(st.sampled_from(sorted(FORMS)))
        settings["init"] = draw(st.sampled_from(FORMS[settings["form"]].inits))
        if settings["form"] == "parallel":
            settings["activation"] = draw(st.sampled_from(ACTIVATIONS))
    if variant in NEEDED:
        settings["num_experts"] = draw(st.integers(1, 64))
    if variant == "perft-r":
        settings["top_k"] = draw(st.integers(1, settings["num_experts"]))
        settings["normalize_top_k"] = draw(st.booleans())
        settings["balance"] = draw(st.floats(0, 10))
        assume(not (settings["normalize_top_k"] and settings["top_k"] == 1))
    return CLASSES[variant](**settings)
