"""Every setting of every variant is an option, with what its configuration says of it."""

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
from calling import call

from perft import adapter_options
from perft.adapter_options import adapter_of, with_adapter_options
from perft.adapters.config import AdapterConfig, Option
from perft.adapters.table import TABLE
from perft.commands.train import main
from perft.config import fields_of
from perft.errors import ConfigError


@pytest.mark.parametrize("variant", TABLE)
def test_every_setting_has_an_option(variant: str) -> None:
    assert fields_of(variant) <= set(inspect.signature(main).parameters)


@dataclass(frozen=True, kw_only=True)
class Pierced(AdapterConfig):
    variant: ClassVar[str] = "pierced"

    holes: Annotated[int, Option("Holes to pierce", at_least=1, at_most=9)] = 3


def test_a_variant_brings_its_option_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from perft.cli import run

    own = dataclasses.replace(TABLE["lora-qv"], example=Pierced(rank=1))
    for module in (adapter_options, inspect.getmodule(fields_of)):
        monkeypatch.setattr(module, "TABLE", {**TABLE, "pierced": own})
    seen: list[AdapterConfig] = []

    def command(*, settings: adapter_options.Settings) -> None:
        """A command."""
        seen.append(adapter_of(settings))

    options = ["--variant", "pierced", "--rank", "2"]
    for more in ([], ["--holes", "5"], ["--holes", "10"], ["--help"]):
        with pytest.raises(SystemExit):
            run(with_adapter_options()(command), [*options, *more])
    assert seen == [Pierced(rank=2), Pierced(rank=2, holes=5)]
    said = capsys.readouterr()
    assert "--holes" in said.err
    assert "Holes to pierce (pierced)." in " ".join(said.out.split())


def test_what_a_variant_or_form_lacks_is_refused() -> None:
    routed = {"variant": "perft-s", "rank": 2}
    with pytest.raises(ConfigError, match="perft-s has no --top-k; leave it out"):
        adapter_of({**routed, "top_k": 2})
    with pytest.raises(ConfigError, match=r'form "dora" has no alpha.* add --form lora'):
        adapter_of({**routed, "form": "dora", "alpha": 2.0})
    with pytest.raises(ConfigError, match=r'form "lora" has no activation.* add --form parallel'):
        adapter_of({**routed, "activation": "gelu"})


def test_help_names_every_variant_and_form() -> None:
    done = call("train", "--help")
    text = " ".join(done.output.split())
    assert all(name in text for name in TABLE)
    assert "PEFT expert: lora, parallel or dora." in text
