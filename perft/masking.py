"""Passwords and keys in places and messages, masked: what is shown or kept never holds them."""

import re

MASK = "***"

# All up to the last @ before a path. A key may hold a slash, which libraries want quoted and users
# forget; a port is none.
_USER = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?:[^/\s'\"]*|[^/\s'\"@:]*:(?!\d+/)[^\s'\"@]*)@",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"(?P<name>[?&;][^=&\s]*(?:key|secret|token|passw|pwd|signature|credential|sas|sig|"
    r"odbc_connect)[^=&\s]*=)[^&;\s'\"]*",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text with the user, password and keys of every URI in it masked.

    `http://user:password@host` becomes `http://***@host`, and `?secret_key=...` `?secret_key=***`.
    """
    return _PARAMETER.sub(rf"\g<name>{MASK}", _USER.sub(rf"\g<scheme>{MASK}@", text))
