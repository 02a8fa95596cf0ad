"""lm-evaluation-harness for adapters of every variant: its own command line, with PERFT in HF PEFT.

    python -m perft.lm_eval --model hf --model_args pretrained=BASE,peft=ADAPTER,dtype=float32 ...

The variants of LoRA are plain HF PEFT adapters, so `lm_eval` itself scores them as well.
"""

import perft.hf_peft  # noqa: F401 - from here on, peft knows the type PERFT


def main() -> None:
    """Runs the command line of lm-evaluation-harness.

    Raises:
        SystemExit: when it is not installed, or as it says.
    """
    try:
        # Late: it loads its tasks and takes seconds.
        from lm_eval.__main__ import cli_evaluate  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"error: lm-evaluation-harness is not installed ({error}); pip install 'lm-eval[hf]'"
        ) from error
    cli_evaluate()


if __name__ == "__main__":
    main()
