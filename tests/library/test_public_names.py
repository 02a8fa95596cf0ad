"""What `perft` itself offers: the library's few names, without the weight of torch."""

import subprocess
import sys

import pytest

import perft


def test_every_name_is_there_and_listed():
    assert set(perft.__all__) <= set(dir(perft))
    for name in perft.__all__:
        assert getattr(perft, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'perft' has no attribute 'LoraConfig'"):
        _ = perft.LoraConfig


def test_configurations_are_taken_without_torch():
    code = (
        "import sys, perft; perft.RoutedConfig(rank=2, num_experts=2, top_k=1); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_hf_peft_knows_the_adapters_once_a_model_is_near_and_need_not_be_there():
    code = (
        "import sys, perft; assert 'peft' not in sys.modules; "
        "sys.modules['peft'] = None; perft.AdapterHost; "
        "del sys.modules['peft']; perft.load_base; "
        "import peft; assert peft.PeftType('PERFT') in peft.PEFT_TYPE_TO_CONFIG_MAPPING"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
