"""The space that a search is given: a module's, by name or file, or an object of a program.

A search that resumes must draw what it drew, so it records hashes of the code behind its space, and
its folder keeps that code in `space.py`. Of an object that is the source of its functions with all
that they use (`perft.standalone`).
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from perft.errors import ConfigError
from perft.files import resolved
from perft.searching.settings import OBJECT
from perft.searching.space import PACKAGE, SearchSpace, space_in, space_module
from perft.searching.space_code import SPACE, space_code
from perft.standalone import Source


@dataclass(frozen=True)
class GivenSpace:
    """A search space with where it comes from.

    Attributes:
        space: the space.
        name: of its module in `search_spaces`, or the absolute path of its file; `OBJECT`.
        module: that defines it; None for an object.
    """

    space: SearchSpace
    name: str
    module: ModuleType | None

    @property
    def file(self) -> str:
        """The user's own file that defines it, by its absolute path; "" if there is none."""
        return self.name if self.name.endswith(".py") else ""

    @property
    def stem(self) -> str:
        """What a search of this space is called if the user gives no name."""
        if self.module is not None:
            return self.name
        task = self.space.task
        return task if isinstance(task, str) else task.name

    def code(self) -> dict[str, str]:
        """Hashes of its code as of `space_code`."""
        if self.module is not None:
            return space_code(self.module)
        source = self._source()
        found = {SPACE: hashlib.sha256(self.text()).hexdigest()}
        for module in source.modules:
            of_module = space_code(module)
            found |= {module.__name__: of_module.pop(SPACE), **of_module}
        return dict(sorted(found.items()))

    def text(self) -> bytes:
        """Its code as the search's folder keeps it."""
        if self.module is not None:
            return Path(str(self.module.__file__)).read_bytes()
        points = [dict(point) for point in self.space.points]
        return f"{self._source().text}\npoints = {points!r}\n".encode()

    @property
    def unknown(self) -> list[str]:
        """What of an object's code cannot be kept, hence not be compared when it resumes."""
        return [] if self.module is not None else self._source().unknown

    def _source(self) -> Source:
        functions: Mapping[str, object] = {
            name: getattr(self.space, name) for name in ("training", "suggest")
        }
        return Source(functions)


def given_space(space: str | SearchSpace) -> GivenSpace:
    """Finds a space by name or file, or where an object comes from.

    Raises:
        ConfigError: if there is no such space.
    """
    if isinstance(space, SearchSpace):
        return _of_object(space)
    if space == OBJECT:
        raise ConfigError(
            "the space of the search was an object of a program, from which no command can draw; "
            "perft.search(space, resume=NAME) resumes it there"
        )
    name = str(resolved(space)) if space.endswith(".py") else space
    module = space_module(space)
    return GivenSpace(space_in(module, space), name, module)


def _of_object(space: SearchSpace) -> GivenSpace:
    """An object that is the `SPACE` of an importable module is as good as that module's file."""
    module = sys.modules.get(getattr(space.suggest, "__module__", None) or "")
    if module is None or getattr(module, "SPACE", None) is not space:
        return GivenSpace(space, OBJECT, None)
    package, _, name = module.__name__.rpartition(".")
    file = getattr(module, "__file__", None)
    if package == PACKAGE:
        return GivenSpace(space, name, module)
    if package or name == "__main__" or not (file and Path(file).is_file()):
        return GivenSpace(space, OBJECT, None)
    return GivenSpace(space, str(resolved(file)), module)
