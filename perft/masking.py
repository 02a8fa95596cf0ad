"""Masks passwords and keys in URIs and messages: nothing shown or stored holds them."""

import re

MASK = "***"

# Everything up to the last @ before a path. A key may hold a slash that the user forgot to quote; a
# port is no key. Repeats are bounded, so that no text takes hours to search. A URI that became a
# path has lost a slash.
_USER = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,30}:/{1,2})"
    r"(?:[^/\s'\"]{0,2000}|[^/\s'\"@:]{0,2000}:(?!\d+/)[^\s'\"@]{0,2000})@",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"(?P<name>[?&;][^=&\s]{0,99}(?:key|secret|token|passw|pwd|signature|credential|sas|sig|"
    r"odbc_connect)[^=&\s]{0,99}=)[^&;\s'\"]*",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text with the user, password and keys of every URI in it masked.

    `http://user:password@host` becomes `http://***@host`, and `?secret_key=...` `?secret_key=***`.
    """
    return _PARAMETER.sub(rf"\g<name>{MASK}", _USER.sub(rf"\g<scheme>{MASK}@", text))
