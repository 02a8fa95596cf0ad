"""The undocumented interfaces of HF PEFT, and of Python's Enum, that perft uses.

PEFT can register a method, but cannot name one: its method types are an Enum, to which this module
adds a member. Its interface of a tuner and a layer is undocumented.
"""

from typing import Any

from perft.compat.library import Library, names_in

PEFT = Library("peft", tested="0.21.2")

_METHOD = "to be one of its methods"

with PEFT.needs(_METHOD):
    from peft import PeftType
    from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
    from peft.utils.peft_types import register_peft_method

TUNER_HOOKS = (
    "prefix",
    "tuner_layer_cls",
    "inject_adapter",
    "_pre_injection_hook",
    "_create_and_replace",
    "_check_merge_allowed",
    "_unload_and_optionally_merge",
    "_get_adapter_state_dict",
    "_remap_adapter_state_dict_for_load",
)
"""Methods of the tuner that perft overrides and PEFT calls."""

LAYER_HOOKS = (
    "adapter_layer_names",
    "_active_adapter",
    "_disable_adapters",
    "set_adapter",
    "set_requires_grad",
    "enable_adapters",
    "delete_adapter",
    "get_base_layer",
)
"""Methods of the layer that perft overrides, and the state that PEFT reads."""

for _owner, _hooks in ((BaseTuner, TUNER_HOOKS), (BaseTunerLayer, LAYER_HOOKS)):
    for _hook in _hooks:
        PEFT.require(
            hasattr(_owner, _hook) or _hook in _owner.__annotations__,
            f"{_owner.__name__}.{_hook}",
            _METHOD,
        )
PEFT.require(
    {"_pre_injection_hook", "inject_adapter"} <= names_in(BaseTuner.__init__),
    "a BaseTuner that calls its hooks when an adapter is added",
    _METHOD,
)

__all__ = ["BaseTuner", "BaseTunerLayer", "add_type", "register_peft_method"]


def add_type(name: str) -> None:
    """Adds a method's name to PEFT's types, so that `PeftType(name)` works.

    Raises:
        LibraryError: if Python's Enum does not allow it.
    """
    member: Any = str.__new__(PeftType, name)
    with PEFT.needs("to name its method"):
        member._name_ = member._value_ = name
        PeftType._member_names_.append(name)
        PeftType._member_map_[name] = PeftType._value2member_map_[name] = member
        type.__setattr__(PeftType, name, member)  # an Enum's own refuses new members
    PEFT.require(
        PeftType(name) is member,
        "a PeftType that takes new members (an Enum of Python's)",
        "to name its method",
    )
