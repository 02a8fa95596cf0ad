"""An MLflow server: its address, its login, and whether it accepts that login."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from perft.errors import StorageError
from perft.masking import masked

EXPERIMENT = "perft"
"""Name of the experiment that holds all searches."""

_USER, _PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_TOKEN = "MLFLOW_TRACKING_TOKEN"  # noqa: S105 - the name of a variable
_OWN_LOGINS = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")
_SECONDS = 5.0
_REFUSALS = (401, 403)
_LONGEST = 200  # characters of an answer that are shown


@dataclass(frozen=True)
class Server:
    """A server's address and the login in its URI.

    Attributes:
        address: for MLflow's client, without a slash at its end and without the login.
        user: from the URI; empty if it names none.
        password: as `user`.
    """

    address: str
    user: str
    password: str

    @classmethod
    def at(cls, uri: str) -> "Server":
        """Parses a URI.

        Raises:
            StorageError: if it names no server.
        """
        try:
            parts = urlsplit(uri)
            login, _, host = parts.netloc.rpartition("@")
            (parts.hostname or "").encode("idna")
            is_one = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_one = False
        if not is_one:
            raise StorageError(
                f"cannot record runs in {masked(uri)}: it is no address of a server; wanted "
                "http://[USER:PASSWORD@]HOST[:PORT][/PATH], with %2F, %3F, %23 and %40 for the /, "
                "?, # and @ of a password"
            )
        user, _, password = login.partition(":")
        address = f"{parts.scheme}://{host}{parts.path}".rstrip("/")
        return cls(address, unquote(user), unquote(password))

    def log_in(self) -> None:
        """Passes the URI's login to MLflow's client, by the environment.

        So neither MLflow's errors nor the addresses of artifacts contain it.
        """
        if self.user:
            os.environ[_USER] = self.user
        if self.password:
            os.environ[_PASSWORD] = self.password


def is_server(uri: str) -> bool:
    """Whether a place for runs is a server."""
    return uri.partition(":")[0].lower() in ("http", "https")


def require_server(uri: str) -> None:
    """Checks that an MLflow server answers and accepts the login.

    Raises:
        StorageError: if the URI is invalid, or the server requires a login.
        OSError: if it does not answer, or not like an MLflow server.
        ValueError: if requests cannot parse the address.
    """
    server = Server.at(uri)
    try:
        answer = requests.get(
            f"{server.address}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": EXPERIMENT},
            timeout=_SECONDS,
            **_as_mlflow_asks(server),
        )
    except requests.Timeout as error:
        raise TimeoutError(f"no answer within {_SECONDS:.0f} seconds") from error
    except requests.ConnectionError as error:
        # The useful part is at the end of three nested errors.
        cause = getattr(error.args[0] if error.args else error, "reason", error)
        raise OSError(str(cause).rpartition(": ")[2]) from error
    found = f"it answers {answer.status_code} {answer.reason}"
    if answer.status_code in _REFUSALS:
        if not _has_login_of_mlflows():
            said = masked(" ".join(answer.text.split()))[:_LONGEST]
            raise StorageError(
                f"cannot record runs in {masked(uri)}: {found} ({said}); set {_USER} and "
                f"{_PASSWORD}, or {_TOKEN}, to a login that it takes"
            )
    elif answer.status_code >= 500:
        raise OSError(found)
    elif not _is_mlflows(answer):
        raise OSError(f"{found}, but not as an MLflow server does")


def _as_mlflow_asks(server: Server) -> dict[str, Any]:
    """Login and certificates as MLflow's client reads them, as arguments of `requests.get`."""
    user = server.user or os.environ.get(_USER, "")
    password = server.password or os.environ.get(_PASSWORD, "")
    token = os.environ.get(_TOKEN, "")
    asked: dict[str, Any] = {}
    if user and password:
        asked["auth"] = (user.encode(), password.encode())
    elif token:
        asked["headers"] = {"Authorization": f"Bearer {token}"}
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        asked["verify"] = False
    elif own := os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
        asked["verify"] = own
    if own := os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        asked["cert"] = own
    return asked


def _has_login_of_mlflows() -> bool:
    """Whether MLflow's client has a kind of login that only it can use."""
    kept = Path("~/.mlflow/credentials").expanduser()
    return kept.exists() or any(os.environ.get(name) for name in _OWN_LOGINS)


def _is_mlflows(answer: requests.Response) -> bool:
    try:
        said = answer.json()
    except ValueError:
        return False
    return isinstance(said, dict) and ("experiment" in said or "error_code" in said)
