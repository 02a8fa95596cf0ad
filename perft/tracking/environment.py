"""The environment of a search as text: the interpreter and every installed package.

The same environment gives the same text: packages are sorted by name.
"""

import platform
from importlib.metadata import distributions


def environment() -> str:
    """The Python version and platform as comments, then one `name==version` per line."""
    packages = {
        f"{found.name}=={found.version}" for found in distributions() if found.name is not None
    }
    head = [f"# Python {platform.python_version()}", f"# {platform.platform()}"]
    return "\n".join([*head, *sorted(packages, key=str.lower)]) + "\n"
