"""Which texts a search measures forgetting on, checked before it starts."""

from collections.abc import Sequence
from pathlib import Path

from perft.errors import ConfigError
from perft.files import resolved
from perft.searching.space import SearchSpace
from perft.tasks.other_text import other_text_name, read_other_text


def other_text_sources(asked: Sequence[str] | None, space: SearchSpace) -> tuple[str, ...]:
    """The sources that the user names, or else those of the space's study; files in full.

    Raises:
        DataError: if one cannot be read.
        ConfigError: if two have the same name.
    """
    if asked is None:
        asked = () if space.study is None else space.study.other_texts
    names = [other_text_name(source) for source in asked]
    if len(set(names)) < len(names):
        raise ConfigError(f"other texts need different names, found {', '.join(names)}")
    for source in asked:
        read_other_text(source)
    return tuple(str(resolved(each)) if Path(each).is_file() else each for each in asked)
