"""GPUs, torch's build and compilers, on machines that are pretended."""

from pathlib import Path

import pytest

from perft.doctor.devices import ask_nvidia_smi, compiler, gpus, torch_build

TWO = "NVIDIA H100 80GB HBM3, 570.86, 81559, 81000\nNVIDIA H100 80GB HBM3, 570.86, 81559, 900\n"


def broken() -> str:
    raise OSError("nvidia-smi fails: Driver/library version mismatch")


def program(folder: Path, text: str, patch: pytest.MonkeyPatch) -> None:
    file = folder / "nvidia-smi"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    patch.setenv("PATH", str(folder), prepend=":")


def test_every_gpu_is_a_line_and_a_busy_one_a_warning() -> None:
    first, second = gpus(lambda: TWO)
    assert (first.state, first.name) == ("ok", "GPU 0")
    assert first.found == "NVIDIA H100 80GB HBM3, driver 570.86, 84.9 GB of 85.5 GB free"
    assert (second.state, second.found[-4:]) == ("warning", "busy")


def test_no_gpu_is_fine_and_a_broken_driver_is_not() -> None:
    for said in (None, "", "\n"):
        assert gpus(lambda said=said: said)[0].state == "ok"
    (found,) = gpus(broken)
    assert found.state == "missing"
    assert found.found == "nvidia-smi fails: Driver/library version mismatch"


def test_a_gpu_that_tells_no_memory_is_shown_as_it_is() -> None:
    (found,) = gpus(lambda: "NVIDIA GB10, 580.1, [N/A], [N/A]\n")
    assert (found.state, found.found) == ("ok", "NVIDIA GB10, driver 580.1, [N/A] of [N/A] free")


def test_the_program_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, f'echo "{TWO.splitlines()[0]}"', monkeypatch)
    assert gpus()[0].name == "GPU 0"
    program(tmp_path, "echo no devices >&2; exit 9", monkeypatch)
    assert gpus()[0].found == "nvidia-smi fails: no devices"
    monkeypatch.setattr("perft.doctor.devices._SECONDS", 0.2)
    program(tmp_path, "exec sleep 600", monkeypatch)
    with pytest.raises(OSError, match="does not answer"):
        ask_nvidia_smi()
    monkeypatch.setenv("PATH", "/nowhere")
    assert ask_nvidia_smi() is None


@pytest.mark.parametrize(
    ("cuda", "hip", "said", "state", "built"),
    [
        ("None", "None", None, "ok", "CPUs"),
        ("None", "None", TWO, "missing", "CPUs, on a machine with a GPU"),
        ("'13.0'", "None", TWO, "ok", "cuda 13.0"),
        ("None", "'7.1'", None, "ok", "hip 7.1"),
    ],
)
def test_torch_is_built_for_the_gpu_or_not(
    cuda: str, hip: str, said: str | None, state: str, built: str, tmp_path: Path
) -> None:
    file = tmp_path / "version.py"
    file.write_text(
        "from typing import Optional\n__version__ = '2.13.0+x'\n"
        f"cuda: Optional[str] = {cuda}\nhip: Optional[str] = {hip}\n"
    )
    (found,) = torch_build(lambda: said, file)
    assert (found.state, found.found) == (state, f"2.13.0+x, built for {built}")


def test_the_installed_torch_says_what_it_is() -> None:
    import torch

    (found,) = torch_build(lambda: None)
    built = f"cuda {torch.version.cuda}" if torch.version.cuda else "CPUs"
    assert found.found == f"{torch.__version__}, built for {built}"


def test_a_missing_compiler_is_named() -> None:
    asked = []

    def lacking(device: str) -> str:
        asked.append(device)
        return "the package triton"

    (on_gpu,), (on_cpu,) = compiler(lambda: TWO, lacking), compiler(lambda: None, lacking)
    assert asked == ["cuda", "cpu"]
    assert on_gpu.advice == "install the package triton"
    assert on_cpu.advice == "for --compile, install the package triton"
    assert compiler(broken, lambda _: "")[0].state == "ok"
