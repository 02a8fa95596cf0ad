"""GPUs, their driver and free memory, whether torch was built for them, and the compilers."""

import ast
import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from perft.doctor.finding import Finding, missing, ok, warning
from perft.models.compilers import missing_compiler

_SECONDS = 8.0
_FIELDS = ("name", "driver_version", "memory.total", "memory.free")
_QUERY = ("nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
_BUSY = 0.5
"""Share of a GPU's memory that is free, below which it counts as busy."""

Answer = Callable[[], str | None]
"""What nvidia-smi prints for `_QUERY`; None where there is none."""


def ask_nvidia_smi() -> str | None:
    """One line per GPU, or None without the program.

    Raises:
        OSError: if it fails or hangs, with what it says.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - its own fixed options
            [program, *_QUERY[1:]], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"nvidia-smi does not answer within {_SECONDS:.0f} seconds") from None
    if done.returncode:
        raise OSError(f"nvidia-smi fails: {' '.join((done.stdout + done.stderr).split())}")
    return done.stdout


def gpus(ask: Answer = ask_nvidia_smi) -> list[Finding]:
    """Every GPU with its driver and free memory."""
    try:
        said = ask()
    except OSError as error:
        advice = "mend the driver (a restart after its update often helps)"
        return [missing("GPU", str(error), advice)]
    rows = [line.split(", ") for line in (said or "").splitlines() if line.strip()]
    if not rows:
        return [ok("GPU", "none: trains on the CPU")]
    return [_gpu(number, row) for number, row in enumerate(rows)]


def torch_build(ask: Answer = ask_nvidia_smi, version_file: Path | None = None) -> list[Finding]:
    """Whether the installed torch can use this machine's GPUs; torch is not imported."""
    try:
        has_gpu = bool((ask() or "").strip())
    except OSError:
        has_gpu = True  # there is one, with a broken driver
    file = version_file or _version_file()
    if file is None:
        return []  # `packages` tells that torch is missing
    values = _assigned(file)
    built_for = next((f"{kind} {values[kind]}" for kind in ("cuda", "hip") if values[kind]), "CPUs")
    shown = f"{values['__version__']}, built for {built_for}"
    if has_gpu and built_for == "CPUs":
        install = "install the CUDA build: https://pytorch.org/get-started/locally"
        return [missing("torch build", f"{shown}, on a machine with a GPU", install)]
    return [ok("torch build", shown)]


def compiler(
    ask: Answer = ask_nvidia_smi, lacking: Callable[[str], str] = missing_compiler
) -> list[Finding]:
    """What compiling a base needs, on a GPU or, with --compile, on the CPU."""
    try:
        device = "cuda" if (ask() or "").strip() else "cpu"
    except OSError:
        device = "cuda"
    wanted = lacking(device)
    if not wanted:
        return [ok("compiler", f"all that compiling a base for a {device.upper()} device needs")]
    effect = "searches do not compile the base and take longer" if device == "cuda" else ""
    return [
        warning(
            "compiler",
            f"{wanted} is not there" + (f": {effect}" if effect else ""),
            f"install {wanted}" if device == "cuda" else f"for --compile, install {wanted}",
        )
    ]


def _gpu(number: int, row: list[str]) -> Finding:
    name, driver, total, free = row
    shown = f"{name}, driver {driver}, {_gigabytes(free)} of {_gigabytes(total)} free"
    if free.isdigit() and total.isdigit() and int(free) < _BUSY * int(total):
        advice = "see `nvidia-smi` for what uses it, or hide it by CUDA_VISIBLE_DEVICES"
        return warning(f"GPU {number}", f"{shown}: busy", advice)
    return ok(f"GPU {number}", shown)


def _gigabytes(mebibytes: str) -> str:
    return f"{int(mebibytes) * 2**20 / 1e9:.1f} GB" if mebibytes.isdigit() else mebibytes


def _version_file() -> Path | None:
    """Torch's `version.py`, found without importing torch."""
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).with_name("version.py") if spec and spec.origin else None


def _assigned(file: Path) -> dict[str, str | None]:
    """The constants of `version.py`."""
    found: dict[str, str | None] = {"__version__": None, "cuda": None, "hip": None}
    for node in ast.parse(file.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and target.id in found:
                found[target.id] = value.value if isinstance(value, ast.Constant) else None  # type: ignore[assignment]
    return found
