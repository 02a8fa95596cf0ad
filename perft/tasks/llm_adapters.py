"""Finds the files of the LLM-Adapters layout on disk (Hu et al. 2023).

Two spellings are known: upstream's `ft-training_set/<name>.json`, `dataset/<task>/train.json` and
`dataset/<task>/test.json`; and `train/<name>.json` with `eval/<task>/test.json`. Every file is one
JSON array of `{"instruction", "input", "output", "answer"}`.

Invariant: a missing file is a DataError that lists the paths that were tried.
"""

from collections.abc import Sequence
from pathlib import Path

from perft.errors import DataError

_MIXTURE = ("ft-training_set/{}.json", "train/{}.json")
_TRAIN = ("ft-training_set/{}.json", "train/{}.json", "dataset/{}/train.json")
_TEST = ("dataset/{}/test.json", "eval/{}/test.json")


def find_training(
    data: Path, mixtures: Sequence[str], names: Sequence[str], alone: str | None
) -> list[Path]:
    """The training files to read.

    Args:
        data: the directory.
        mixtures: names of files for a whole group, the preferred first.
        names: the group's benchmarks, whose own files together replace a missing mixture.
        alone: the single benchmark to train, whose own file comes first; None for the group.

    Raises:
        DataError: when there is no such directory or file.
    """
    if not data.is_dir():
        raise DataError(
            f"{data} is not a directory; --data takes one in the LLM-Adapters layout, or the word "
            "hub"
        )
    if alone and (own := _find(data, _TRAIN, alone)):
        return [own]
    for mixture in mixtures:
        if path := _find(data, _MIXTURE, mixture):
            return [path]
    found = [path for name in names if (path := _find(data, _TRAIN, name))]
    if not found:
        raise _missing("training", data, [(_MIXTURE, mixtures), (_TRAIN, names)])
    return found


def find_tests(data: Path, names: Sequence[str]) -> dict[str, Path]:
    """The test files that exist, by benchmark.

    Raises:
        DataError: when there is none.
    """
    found = {name: path for name in names if (path := _find(data, _TEST, name))}
    if not found:
        raise _missing("test", data, [(_TEST, names)])
    return found


def _find(data: Path, patterns: tuple[str, ...], name: str) -> Path | None:
    """The file of this name in either spelling of the layout, upstream's first."""
    paths = [data / pattern.format(name) for pattern in patterns]
    return next((path for path in paths if path.is_file()), None)


def _missing(
    kind: str, data: Path, tried: list[tuple[tuple[str, ...], Sequence[str]]]
) -> DataError:
    looked = ", ".join(
        pattern.format(name) for patterns, names in tried for name in names for pattern in patterns
    )
    return DataError(f"{data} has no {kind} file of the LLM-Adapters layout; looked for {looked}")
