"""PEFT experts, which the PERFT variants share: configuration and sizes. Free of torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, get_args

from perft.adapters.config import AdapterConfig, Option
from perft.adapters.forms import FORMS, ExpertForm
from perft.adapters.forms.parallel import Activation
from perft.adapters.tensors import Shapes, Start
from perft.checks import require_choice
from perft.errors import ConfigError, listed

_DEFAULT_ACTIVATION: Activation = "silu"


@dataclass(frozen=True, kw_only=True)
class ExpertsConfig(AdapterConfig):
    """The settings that the PERFT variants share: PEFT experts beside each MoE block.

    Attributes:
        form: "lora" is (alpha/r) B A drop(x); "parallel" is W2 f(drop(W1 x)), without scale;
            `FORMS` lists all.
        activation: f of the parallel form.
    """

    form: Annotated[ExpertForm, Option(f"PEFT expert: {listed(FORMS)}")] = "lora"
    activation: Annotated[
        Activation, Option(f"Of the parallel form: {', '.join(get_args(Activation))}")
    ] = _DEFAULT_ACTIVATION

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("form", self.form, tuple(FORMS))
        require_choice("activation", self.activation, get_args(Activation))
        form = FORMS[self.form]
        if "activation" not in form.settings and self.activation != _DEFAULT_ACTIVATION:
            raise ConfigError(
                f'form "{self.form}" has no activation, found activation={self.activation!r}; '
                'leave it out or set form="parallel"'
            )
        if self.init not in form.inits:
            raise ConfigError(
                f'form "{self.form}" cannot start by init={self.init!r}; set init to '
                f"{listed(map(repr, form.inits))}"
            )


def expert_shapes(config: ExpertsConfig, num_experts: int, hidden_size: int) -> Shapes:
    """Shapes of the tensors of M = `num_experts` PEFT experts, D = `hidden_size`, by kind."""
    return FORMS[config.form].shapes(num_experts, config.rank, hidden_size)


def expert_size(config: ExpertsConfig, hidden_size: int) -> int:
    """Parameters of one PEFT expert: 2Dr for its two products, plus those of its form."""
    return sum(map(math.prod, expert_shapes(config, 1, hidden_size).values()))


def expert_starts(config: ExpertsConfig) -> Mapping[str, Start]:
    """By kind, the start of PEFT experts' tensors that are not initialised by `init`."""
    return FORMS[config.form].starts(config.rank)
