"""The files that make an exported folder a model of MLflow, beside those of the adapter.

    MLmodel                           flavour, signature and input example
    requirements.txt, python_env.yaml the environment, for MLflow's --env-manager virtualenv
    input_example.json                one prompt, as a table of one row

The flavour is python_function, with perft's own loader (`perft.serving.pyfunc`): it loads every
variant, on every base, and unpickles nothing. MLflow's flavour transformers is left out: it stores
the base itself, or loads adapters of those types alone that `peft` has when it is installed.
"""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from typing import Any

import yaml

from perft.adapter_folder import MLFLOW_ENVIRONMENT, MLFLOW_EXAMPLE, MLFLOW_MODEL, REQUIREMENTS
from perft.config.typed import typed
from perft.tasks.prompts import alpaca

LOADER = "perft.serving.pyfunc"
MAX_NEW_TOKENS = 256
"""Default of the parameter `max_new_tokens`."""

_NEEDED = ("perft", "mlflow", "torch", "transformers")
_EXAMPLE = "Tom has 3 boxes with 4 apples each. How many apples does he have?"
_INPUTS = [{"name": "prompt", "type": "string", "required": True}]
_OUTPUTS = [{"type": "string", "required": True}]
_PARAMS = [{"name": "max_new_tokens", "type": "long", "default": MAX_NEW_TOKENS, "shape": None}]


def mlflow_files(settings: Mapping[str, object]) -> dict[str, bytes]:
    """The files, by name.

    Args:
        settings: what the search was started with; its package versions are required.
    """
    versions = typed(Mapping[str, str], settings.get("versions", {}), "versions")
    needed = [f"{name}=={versions[name]}" for name in _NEEDED if name in versions]
    python = platform.python_version()
    environment = {"python": python, "dependencies": [f"-r {REQUIREMENTS}"]}
    example = {"columns": ["prompt"], "data": [[alpaca(_EXAMPLE)]]}
    return {
        MLFLOW_MODEL: _yaml(_model(python)),
        MLFLOW_ENVIRONMENT: _yaml(environment),
        REQUIREMENTS: ("\n".join(needed) + "\n").encode(),
        MLFLOW_EXAMPLE: json.dumps(example).encode(),
    }


def _model(python: str) -> dict[str, Any]:
    flavour = {
        "loader_module": LOADER,
        "python_version": python,
        "env": {"virtualenv": MLFLOW_ENVIRONMENT},
    }
    return {
        "flavors": {"python_function": flavour},
        "mlflow_version": importlib.metadata.version("mlflow"),
        "signature": {
            "inputs": json.dumps(_INPUTS),
            "outputs": json.dumps(_OUTPUTS),
            "params": json.dumps(_PARAMS),
        },
        "saved_input_example_info": {
            "artifact_path": MLFLOW_EXAMPLE,
            "type": "dataframe",
            "pandas_orient": "split",
        },
    }


def _yaml(value: Mapping[str, Any]) -> bytes:
    text: str = yaml.safe_dump(dict(value), sort_keys=False)
    return text.encode()
