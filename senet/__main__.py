"""Sums a network up (`senet NAME`), or checks choices of one's own (`senet check FILE`).

The same as `python -m senet`. What needs torch is imported where it is used, so that --help and the
completion of a shell (`senet --install-completion`) do not wait for it.
"""

import json
import sys
from ast import literal_eval
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from tabulate import tabulate

from senet.config import SEConfig, find_row

if TYPE_CHECKING:
    from senet.cost import Cost

UsageError = cast(type[Exception], typer.BadParameter.__base__)  # which typer does not export
app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _names(begun: str) -> list[str]:
    """Completes what may stand first: the word check, or a network."""
    from senet.networks import list_networks

    return [name for name in ("check", *list_networks()) if name.startswith(begun)]


def _keys(begun: str) -> list[str]:
    """Completes the key of a --set."""
    return [f"{key}=" for key in SEConfig.__dataclass_fields__ if key.startswith(begun)]


@app.command()
def senet(
    name: Annotated[
        str, typer.Argument(help="a network, or the word check", autocompletion=_names)
    ],
    file: Annotated[Path | None, typer.Argument(help="after check: your own rows")] = None,
    se: Annotated[bool, typer.Option("--se/--no-se", help="with SE blocks, or plain")] = True,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="of the block: ratio=4", autocompletion=_keys
        ),
    ] = (),  # pyright: ignore[reportArgumentType]: typer makes a list of it
    classes: Annotated[
        int | None, typer.Option(min=1, help="outputs; the family's own unless given")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="of the images, in pixels")] = None,
    stride_on: Annotated[str, typer.Option(help="3x3, or 1x1 as in the paper")] = "3x3",
    as_json: Annotated[
        bool, typer.Option("--json", help="the figures alone, for programs")
    ] = False,
) -> None:
    """Print a network's layers and cost, or `check` a file of your own choices.

    NAME is one of resnet20, resnet29b, resnet50, senet154, vgg16_bn and many more: a wrong one
    lists them all.
    """
    if name == "check":
        return _check(file)
    import torch
    from torchinfo import summary

    from senet.cost import cost
    from senet.networks import build

    config = SEConfig(**dict(map(_setting, settings))) if se else None
    with torch.device("meta"):
        model = build(name, se=config, classes=classes, stride_on=stride_on)
    pixels = size or cast(int, model.size)
    figures = cost(model, pixels)
    if as_json:
        return print(json.dumps({"network": name, "size": pixels} | asdict(figures), indent=1))
    names = ("input_size", "output_size", "num_params")
    print(
        summary(model, (1, 3, pixels, pixels), col_names=names, depth=2, verbose=0, device="meta")
    )
    print(_text(figures, pixels))


def _text(figures: "Cost", pixels: int) -> str:
    share = figures.se_parameters / figures.parameters
    rows = [
        ("parameters", f"{figures.parameters:,}"),
        ("  in SE blocks", f"{figures.se_parameters:,} ({share:.1%})"),
        (f"multiply-adds at {pixels} x {pixels}", f"{figures.multiply_adds:,}"),
        ("  in SE blocks", f"{figures.se_multiply_adds:,}"),
        ("on top, SE's pooling and scaling", f"{figures.se_elementwise:,}"),
    ]
    if figures.hidden:
        widths = (f"{k}: {', '.join(map(str, v))}" for k, v in figures.hidden.items())
        rows.append(("hidden units by stage", "; ".join(widths)))
    narrow = [stage for stage, widths in figures.hidden.items() if 1 in widths]
    if narrow:
        rows.append(
            ("note", f"in stage {', '.join(narrow)} one hidden unit decides on all channels")
        )
    return tabulate(rows, tablefmt="plain", disable_numparse=True)


def _check(file: Path | None) -> None:
    from senet.custom import check_own

    if file is None:
        raise ValueError("check needs a file: senet check my_block.py")
    rows = list(check_own(file))
    if not rows:
        raise ValueError(f"{file} adds no row to SQUEEZES, EXCITATIONS, GATES or BLOCKS")
    shown = [row | {"wrong": row["wrong"] or "nothing"} for row in rows]
    print(tabulate(shown, headers="keys", disable_numparse=True))
    if bad := [row["row"] for row in rows if row["wrong"]]:
        raise ValueError(f"{file}: {', '.join(map(repr, bad))} cannot be used in a grid")


def _setting(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals:
        raise ValueError(f"--set {word!r}: write KEY=VALUE, for example ratio=4")
    find_row("key of --set", key, SEConfig.__dataclass_fields__)
    try:
        return key, literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def main() -> None:
    """Runs the command; ends with 2 and one sentence where the user got something wrong."""
    try:
        status = app(standalone_mode=False)
    except (ValueError, RuntimeError, UsageError) as error:
        message = getattr(error, "format_message", error.__str__)()
        print(f"error: {message.splitlines()[0]}", file=sys.stderr)
        status = 2
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
