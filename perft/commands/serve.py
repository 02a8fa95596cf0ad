"""Serves adapters on their base by HTTP, as OpenAI's interface has it."""

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perft.adapter_folder import base_of, read_settings
from perft.errors import ConfigError
from perft.models.precision import notes_on_precision, require_precision
from perft.models.source import BUILTIN_NAMES, base_directory, check_base, fingerprint
from perft.options import DtypeOption, ExpertsOption, JsonOption, QuantizeOption, QuietOption
from perft.screen import Output
from perft.searching.base import require_experts

if TYPE_CHECKING:
    from perft.serving.limits import Limits
    from perft.serving.models import Served

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")


def main(
    *,
    adapter: Annotated[
        list[str],
        typer.Option(
            metavar="FOLDER|NAME=FOLDER",
            help="An adapter's folder; several for several adapters. Clients name it by the "
            "folder's name, or by NAME.",
            show_default=False,
        ),
    ],
    base_model: Annotated[
        str | None,
        typer.Option(help="Base: a hub id or a local directory.", show_default="the adapters'"),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that is not loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token that clients must send.",
            show_default="the environment variable PERFT_SERVE_TOKEN",
        ),
    ] = None,
    max_batch: Annotated[
        int, typer.Option(min=1, max=1024, help="Texts that are written at a time.")
    ] = 16,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Most tokens that a request may ask for.")
    ] = 512,
    max_waiting: Annotated[
        int, typer.Option(min=0, max=100_000, help="Prompts that may wait for a place.")
    ] = 64,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="Seconds that a request may take.")
    ] = 300.0,
    dtype: DtypeOption = "auto",
    experts: ExpertsOption = "auto",
    quantize: QuantizeOption = "none",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve adapters on one base: an endpoint for OpenAI's clients.

    Requests for different adapters and for the base alone share one batch. It is meant for trying
    an adapter and for small teams; docs/serving.md says how many requests it answers.

    Examples:
      perft serve --adapter adapter
      perft serve --adapter knee --adapter sums=path/to/best --port 9000
      perft serve --adapter adapter --host 0.0.0.0 --token-file token
    """
    output = Output(as_json=as_json, quiet=quiet)
    _require_libraries()
    folders = adapters_by_name(adapter)
    named = base_model or _base_of_all(folders)
    base = None if named in BUILTIN_NAMES else named
    check_base(base)
    require_precision(quantize)
    require_experts(experts, training=False, quantize=quantize)
    for folder in _of_another_base(folders.values(), fingerprint(base_directory(base))):
        output.note(f"note: {named} is not the very base {folder} was trained on")
    for line in notes_on_precision(folders.values(), quantize):
        output.note(line)

    # Imported late: a mistake in the options shows at once, before torch is loaded.
    from perft.serving.app import Service  # noqa: PLC0415
    from perft.serving.limits import Limits  # noqa: PLC0415
    from perft.serving.server import bind, read_token, serve, url_of  # noqa: PLC0415

    base_options = {"base": base, "dtype": dtype, "experts": experts, "quantize": quantize}
    token = read_token(host, token_file)
    limits = Limits(max_batch, max_new_tokens, max_waiting, timeout)
    with bind(host, port) as bound:
        output.say(f"loading the base {named} ...")
        served = _loaded(folders, limits, base_options)
        models, url = list(served.adapters), url_of(bound)

        def ready() -> None:
            output.event("ready", url=url, models=models)
            output.say(_try_it(url, models[-1], needs_token=token is not None))
            output.last(f"serving {', '.join(models)} at {url}/v1; Ctrl-C ends it")

        serve(Service(served), bound, token, ready)


def adapters_by_name(given: Sequence[str]) -> dict[str, Path]:
    """The folders, by the names that clients use: a name of the user's, or the folder's own.

    Raises:
        ConfigError: if two have the same name.
    """
    found: dict[str, Path] = {}
    for each in given:
        name, equals, folder = each.partition("=")
        if not equals or Path(each).exists():
            name, folder = Path(each).resolve().name, each
        if name in found:
            raise ConfigError(
                f"two adapters are named {name!r}, {found[name]} and {folder}; give one another "
                f"name: --adapter NAME={folder}"
            )
        found[name] = Path(folder).expanduser()
    return found


def _require_libraries() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"perft serve needs {' and '.join(missing)}: python -m pip install 'perft[serve]'"
        )


def _base_of_all(folders: Mapping[str, Path]) -> str:
    """The one base that all adapters name."""
    bases = {base_of(read_settings(folder), folder): folder for folder in folders.values()}
    if len(bases) > 1:
        (one, first), (other, second), *_ = bases.items()
        raise ConfigError(
            f"{first} is for the base {one} and {second} for {other}, and a server has one base; "
            "start one for each, or name the base: --base-model"
        )
    return next(iter(bases))


def _of_another_base(folders: Iterable[Path], found: str) -> Iterator[Path]:
    """The adapters that were trained on another base than the one with the fingerprint `found`."""
    for folder in folders:
        if read_settings(folder)["perft"].get("base_fingerprint", found) != found:
            yield folder


def _loaded(
    folders: Mapping[str, Path], limits: "Limits", base_options: Mapping[str, Any]
) -> "Served":
    import torch  # noqa: PLC0415

    from perft.models.load import load_base  # noqa: PLC0415
    from perft.serving.models import Served, load_adapters  # noqa: PLC0415

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load_base(device=device, compile=False, **base_options)
    host, adapters = load_adapters(loaded, folders)
    return Served(loaded, host, adapters, limits)


def _try_it(url: str, model: str, *, needs_token: bool) -> str:
    """A request to try."""
    body = json.dumps({"model": model, "prompt": "...", "temperature": 0})
    header = " -H 'Authorization: Bearer TOKEN'" if needs_token else ""
    return f"curl {url}/v1/completions{header} -H 'Content-Type: application/json' -d '{body}'"
