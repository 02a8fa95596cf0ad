"""docs/models.md is what the command prints, and no MoE family is missing from it."""

import re
from pathlib import Path

import transformers
from transformers.models.auto.configuration_auto import model_type_to_module_name
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from perft.injection.catalogue import catalogue
from perft.models.families import FAMILIES, UNSUPPORTED

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TYPES = {
    *MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    *MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    *MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
}


def defines_experts(model_type: str) -> bool:
    """Whether the file that holds the family's classes has one for experts or for an MoE block."""
    name = model_type_to_module_name(model_type)
    file = Path(transformers.__file__).parent / "models" / name / f"modeling_{name}.py"
    source = file.read_text("utf-8") if file.is_file() else ""
    return re.search(r"^class \w*(Experts|M[oO]E|Moe|MoeBlock)\(", source, re.MULTILINE) is not None


def test_page_is_what_the_command_prints():
    assert PAGE.read_text("utf-8") == catalogue(), "run `make models`"


def test_every_moe_type_of_the_three_auto_classes_is_listed():
    moe = {model_type for model_type in TYPES if defines_experts(model_type)}
    assert len(moe) >= 60
    assert moe - {*FAMILIES, *UNSUPPORTED} == set()
    assert {*FAMILIES, *UNSUPPORTED} <= TYPES
    assert not set(FAMILIES) & set(UNSUPPORTED)


def test_at_least_55_types_are_supported():
    assert len(FAMILIES) >= 55
