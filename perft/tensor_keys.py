"""The keys of an adapter's tensors: the only module that builds and parses them.

A tensor belongs to a base module, and has a kind there. The forms of one key:

    model.layers.0.mlp.adapters.perft_down          perft's own: `TensorKey`
    model.layers.0.mlp.adapters.perft_down.first    on the base: the same, and the adapter's name
    base_model.model.<one of these>                 as `peft` writes and loads them
    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight
                                                    of a plain LoRA: `LoraKey`, with that prefix

`adapters` is the child module that a site adds to the base module it serves
(`perft.injection.sites`). Free of torch.
"""

import re
from dataclasses import dataclass

PEFT_PREFIX = "base_model.model."
"""Prefix of all of `peft`'s keys: the path of the base in its model."""

LORA_A, LORA_B = "lora_A", "lora_B"
"""The two matrices of a LoRA, as `peft` and perft name them."""

_CHILD, _WRAPPED = "adapters", "base_layer"
_OWN = re.compile(rf"(?P<path>.+)\.{_CHILD}\.(?P<kind>[^.]+)(?:\.(?P<adapter>[^.]+))?")
_KIND = re.compile(rf"(?:(?P<weight>.+)_)?(?P<matrix>{LORA_A}|{LORA_B})")
_LORA = re.compile(
    rf"(?P<path>.+?)(?P<wraps>(?:\.{_WRAPPED})*)\.(?P<matrix>{LORA_A}|{LORA_B})\.weight"
)


@dataclass(frozen=True)
class TensorKey:
    """One tensor of an adapter, in perft's naming; `str` gives the key.

    Attributes:
        path: dotted path of its base module.
        kind: which of the module's tensors, without a dot: `perft_down`, `lora_A`, or
            `<weight>_lora_A` if the module has several weights.
        adapter: name of the adapter in a state dict of several, else "".
    """

    path: str
    kind: str
    adapter: str = ""

    def __str__(self) -> str:
        key = key_of(self.path, self.kind)
        return on_base(key, self.adapter) if self.adapter else key

    @classmethod
    def parse(cls, key: str) -> "TensorKey":
        """Parses a key, with `PEFT_PREFIX` or without.

        Raises:
            ValueError: if it is no adapter's key.
        """
        if (found := _OWN.fullmatch(without_prefix(key))) is None:
            raise ValueError(f"{key} is no tensor of an adapter")
        return cls(found["path"], found["kind"], found["adapter"] or "")

    @property
    def weight(self) -> str:
        """Path of the weight that this matrix of a LoRA belongs to.

        Raises:
            ValueError: if the tensor is no LoRA matrix.
        """
        return f"{self.path}.{_matrix(self.kind)['weight'] or 'weight'}"

    @property
    def matrix(self) -> str:
        """`LORA_A` or `LORA_B`; raises like `weight`."""
        return _matrix(self.kind)["matrix"]


@dataclass(frozen=True)
class LoraKey:
    """One matrix of a plain LoRA, in `peft`'s naming; `str` gives the key without its prefix.

    Attributes:
        path: dotted path of its base module.
        matrix: `LORA_A` or `LORA_B`.
        depth: number of `peft` wrappers around the one that holds it.
    """

    path: str
    matrix: str
    depth: int = 0

    def __str__(self) -> str:
        return f"{self.path}{f'.{_WRAPPED}' * self.depth}.{self.matrix}.weight"

    @classmethod
    def parse(cls, key: str) -> "LoraKey":
        """Parses a key, with `PEFT_PREFIX` or without.

        Raises:
            ValueError: if it is no LoRA matrix's key.
        """
        if (found := _LORA.fullmatch(without_prefix(key))) is None:
            raise ValueError(f"{key} is no matrix of a LoRA")
        return cls(found["path"], found["matrix"], found["wraps"].count(_WRAPPED))


def key_of(path: str, kind: str) -> str:
    """The key, without the adapter's name, of a tensor of the module `path`."""
    return f"{path}.{_CHILD}.{kind}"


def on_base(key: str, adapter: str) -> str:
    """The key, with `PEFT_PREFIX` or without, in the state dict of a base with several adapters."""
    return f"{key}.{adapter}"


def lora_kind(weight: str, matrix: str) -> str:
    """The kind of a LoRA matrix for one of a module's several weights."""
    return f"{weight}_{matrix}"


def is_of_adapter(name: str) -> bool:
    """Whether a module's parameter, by its name in the module, belongs to an adapter."""
    return f".{_CHILD}." in f".{name}"


def module_and_name(weight: str) -> tuple[str, str]:
    """Splits a weight's path into its module's path and its name there."""
    path, _, name = weight.rpartition(".")
    return path, name


def with_prefix(key: str) -> str:
    """A perft key with `peft`'s prefix."""
    return PEFT_PREFIX + key


def without_prefix(key: str) -> str:
    """A `peft` key without its prefix."""
    return key.removeprefix(PEFT_PREFIX)


def _matrix(kind: str) -> re.Match[str]:
    if (found := _KIND.fullmatch(kind)) is None:
        raise ValueError(f"{kind} is no matrix of a LoRA")
    return found
