"""Adds the type PERFT to HF PEFT: import this module once, then use `peft` as usual.

    import perft.hf_peft
    model = PeftModel.from_pretrained(base, folder)

`peft` has its method types in an Enum, to which this module adds a member. No module of the base is
replaced: one `AdapterHost` holds the adapters, and a single layer, `PerftLayer`, forwards the calls
of `peft` to it. `peft` reads and writes the folders of `perft.checkpoint`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig, PeftType
from torch import Tensor, nn

from perft.adapter_folder import PERFT
from perft.compat.peft import BaseTuner, BaseTunerLayer, add_type, register_peft_method
from perft.config import AdapterConfig, adapter_from_flat
from perft.errors import AdapterError, ConfigError
from perft.injection import AdapterHost, require_fit
from perft.tensor_keys import TensorKey, on_base, without_prefix

add_type(PERFT)


@dataclass
class PerftConfig(PeftConfig):  # type: ignore[misc]
    """A PERFT adapter as `peft` configures it; make one with `PerftConfig.of`.

    Attributes:
        perft: the block of that name in `adapter_config.json`; its `adapter` is the flat
            configuration (`AdapterConfig.to_flat`).

    Raises:
        ConfigError: if the configuration is missing or invalid.
    """

    perft: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType(PERFT)
        self.to_adapter()  # fails here, not when the adapter is added

    @classmethod
    def of(cls, adapter: AdapterConfig, **settings: Any) -> "PerftConfig":
        """The configuration for `get_peft_model` and `PeftModel.add_adapter`.

        Args:
            adapter: the adapter's configuration.
            settings: further fields of `peft.PeftConfig`.
        """
        return cls(perft={"adapter": adapter.to_flat()}, **{"task_type": "CAUSAL_LM", **settings})

    def to_adapter(self) -> AdapterConfig:
        """The adapter's perft configuration."""
        if "adapter" not in self.perft:
            raise ConfigError("a PerftConfig needs an adapter; make it by PerftConfig.of(...)")
        return adapter_from_flat(self.perft["adapter"])


class PerftLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """All adapters of a base as one layer of `peft`; the base's child `perft`.

    Attributes:
        host: holds the adapters.
    """

    adapter_layer_names = ("tensors",)

    def __init__(self, host: AdapterHost) -> None:
        super().__init__()
        self.host = host
        self._active_adapter: list[str] = []
        self._disable_adapters = False

    @property
    def tensors(self) -> nn.ModuleDict:
        """The tensors of every adapter, by name, for `peft`'s reports; the sites own them."""
        names = self.host.configs
        return nn.ModuleDict({n: nn.ParameterList(self.host.tensors(n).values()) for n in names})

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        """Activates one adapter for every row; only it is trainable, unless for inference.

        Raises:
            AdapterError: for several names, or an unknown one.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        if len(names) > 1:
            raise AdapterError(
                f"one PERFT adapter is active at a time, found {', '.join(names)}; to give each "
                "row of a batch its own adapter, use model.perft.host.using(...)"
            )
        for name in names:
            self.host.tensors(name)  # raises for an unknown name before anything changes
        for name in self.host.configs:
            self.set_requires_grad(name, name in names and not inference_mode)
        self._active_adapter = names
        self._follow()

    def set_requires_grad(
        self, adapter_names: str | Sequence[str], requires_grad: bool = True
    ) -> None:
        """Makes adapters trainable, or freezes them."""
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            for tensor in self.host.tensors(name).values():
                tensor.requires_grad_(requires_grad)

    def enable_adapters(self, enabled: bool) -> None:
        """Switches the active adapter on or off; `requires_grad` stays."""
        self._disable_adapters = not enabled
        self._follow()

    def delete_adapter(self, adapter_name: str) -> None:
        """Removes an adapter; if it was active, the first remaining one becomes active."""
        self.host.remove(adapter_name)
        if adapter_name in self._active_adapter:
            self.set_adapter(list(self.host.configs)[:1])

    def get_base_layer(self) -> nn.Module:
        """A module without weights: this layer wraps none, so `peft`'s recursion ends here."""
        return nn.Identity()

    def _follow(self) -> None:
        on = [] if self._disable_adapters else self._active_adapter
        self.host.activate(on[0] if on else None)


class PerftModel(BaseTuner):  # type: ignore[misc]
    """A `peft` tuner that adds PERFT adapters to a base and removes them."""

    prefix = "perft_"
    tuner_layer_cls = PerftLayer

    def _pre_injection_hook(self, model: Any, config: Any, adapter_name: str) -> None:
        if not hasattr(model, "perft"):
            model.perft = PerftLayer(AdapterHost(model))

    def inject_adapter(
        self, model: Any, adapter_name: str, *_unused: Any, **_settings: Any
    ) -> None:
        """Adds a new adapter to the base, frozen unless it is the active one.

        Raises:
            AdapterError: if the name is taken or not allowed.
        """
        config = self.peft_config[adapter_name]
        model.perft.host.add(adapter_name, config.to_adapter())
        self.set_requires_grad(adapter_name, requires_grad=False)
        if adapter_name in self.active_adapters:
            self.set_adapter(adapter_name, inference_mode=config.inference_mode)

    def _create_and_replace(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing in the base is replaced: inject_adapter does it all")

    def _check_merge_allowed(self) -> None:
        raise AdapterError(
            "a PERFT adapter runs beside the MoE blocks, so there is no weight to merge it into; "
            "keep it on the base, or take it off by unload()"
        )

    def _unload_and_optionally_merge(self, merge: bool = True, **_: Any) -> Any:
        if merge:
            self._check_merge_allowed()
        for name in list(self.model.perft.host.configs):
            self.model.perft.host.remove(name)
        del self.model.perft, self.model.peft_config
        return self.model

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: Any,
        config: Any,
        adapter_name: str,
        state_dict: Mapping[str, Tensor],
        **_: Any,
    ) -> dict[str, Tensor]:
        mine = {on_base(key, adapter_name) for key in model.perft.host.tensors(adapter_name)}
        return {k: tensor for k, tensor in state_dict.items() if without_prefix(k) in mine}

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: Any, config: Any, adapter_name: str, state_dict: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        own = model.perft.host.tensors(adapter_name)
        require_fit(
            {key: tuple(tensor.shape) for key, tensor in own.items()},
            {without_prefix(key): tuple(tensor.shape) for key, tensor in state_dict.items()},
        )
        # With `low_cpu_mem_usage` these become the adapter's tensors; `peft` reads them onto a GPU
        # if there is one, wherever the base is.
        return {
            on_base(key, adapter_name): tensor.to(_device_of_base(model.perft.host, key))
            for key, tensor in state_dict.items()
        }


def _device_of_base(host: AdapterHost, key: str) -> torch.device:
    """Device of the base module to which the adapter's tensor `key` belongs."""
    module = host.model.get_submodule(TensorKey.parse(key).path)
    device: torch.device = next(module.parameters()).device
    return device


register_peft_method(name=PERFT.lower(), config_cls=PerftConfig, model_cls=PerftModel)
