"""Writes the model card of exported weights: a README.md whose front matter model hubs read."""

from typing import Any

import yaml

from experiments.data.datasets import origin
from experiments.records.text import escaped

TEXT = """\
---
{front}---

# {network}: {rows}

A network of an ablation study of Squeeze-and-Excitation ([Hu et al., arXiv
1709.01507](https://arxiv.org/abs/1709.01507)), trained on {dataset} with seed {seed}. It was made
to be compared with the study's other networks, and is no strong classifier. Licence: MIT, as the
code.

| | |
|---|---|
| test error | {error:.2f} ± {margin:.2f} % of {images:,} images, before rounding to float16; the \
interval (95 %, binomial) is of these weights on other images |
| input | images (B, 3, 32, 32) on a scale from 0 to 1, minus `mean`, over `std` |
| `mean` | {mean} |
| `std` | {std} |
| output | logits (B, {classes}) of `class_names` |
| `class_names` | {names} |
| network | {build} |
| recipe | {recipe} |
| data | fingerprint `{data}`: {origin} |

With `senet` installed (`pip install .` in a checkout of the study), beside this folder:

```python
from senet.weights import from_pretrained

model = from_pretrained("{cell}")  # in eval mode
```

The header of `model.safetensors` says all of this for programs: `senet.weights.read_about(path)`.
"""


def card(cell: str, about: dict[str, Any]) -> str:
    """Writes the model card for a person who has only the network's folder, which `cell` names.

    `about` is what the header of the weights says (senet/weights.py).
    """
    config, names, wrong = about["config"], about["class_names"], about["test_error"] / 100
    build = {key: value for key, value in about["build"].items() if key != "se"}
    se = about["build"]["se"]
    return TEXT.format(
        cell=cell,
        front=yaml.safe_dump(_front_matter(cell, about), sort_keys=False, allow_unicode=True),
        network=config["network"],
        rows=", ".join(map(escaped, about["rows"])),
        dataset=config["dataset"],
        seed=config["seed"],
        error=about["test_error"],
        images=about["test_images"],
        margin=196 * (wrong * (1 - wrong) / about["test_images"]) ** 0.5,
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        classes=len(names),
        names=", ".join(map(escaped, names)),
        build=f"{_listed(build)}; " + (f"SE: {_listed(se)}" if se else "no SE"),
        recipe=_listed(config["recipe"]),
        data=about["data"],
        origin=origin(config["dataset"], about["data"]),
    )


def _front_matter(cell: str, about: dict[str, Any]) -> dict[str, Any]:
    """Gives what hubs read: licence, library, data set and result."""
    config = about["config"]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": config["dataset"], "type": config["dataset"], "split": "test"},
        "metrics": [{"type": "accuracy", "value": round(100 - about["test_error"], 2)}],
    }
    return {
        "license": "mit",
        "library_name": "senet",
        "pipeline_tag": "image-classification",
        "tags": ["squeeze-and-excitation", "ablation", "arxiv:1709.01507"],
        "datasets": [config["dataset"]],
        "metrics": ["accuracy"],
        "model-index": [{"name": cell, "results": [result]}],
    }


def _listed(settings: dict[str, Any]) -> str:
    """Says settings in a line, without those that are not used."""
    used = {key: value for key, value in settings.items() if value not in (None, [], ())}
    return ", ".join(f"{key} {value}" for key, value in used.items())
