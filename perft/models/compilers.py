"""Checks for the compilers that compiling a base needs, and says what to install."""

import importlib.util
import os
import shutil

from perft.errors import ConfigError


def compiles_by_default(device: str) -> bool:
    """Whether a base on a device of this type is compiled unless the user says otherwise."""
    return device == "cuda" and not missing_compiler(device)


def missing_compiler(device: str) -> str:
    """What must be installed to compile a base on a device of this type; empty if nothing.

    Args:
        device: "cpu" or "cuda".
    """
    if device != "cuda":
        return "" if _any(os.environ.get("CXX"), "g++", "clang++") else "a C++ compiler, as g++"
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    # Triton compiles the launchers of its kernels.
    return "" if _any(os.environ.get("CC"), "gcc", "clang", "cc") else "a C compiler, as gcc"


def require_compiler(missing: str, where: str = "") -> None:
    """Refuses to compile where a compiler is missing.

    Args:
        missing: what `missing_compiler` said.
        where: the machine, for the message.

    Raises:
        ConfigError: says what to install.
    """
    if missing:
        raise ConfigError(
            f"compiling a base needs {missing}, which is not there{where}; install it, or say "
            "--no-compile"
        )


def _any(*names: str | None) -> bool:
    return any(name and shutil.which(name) for name in names)
