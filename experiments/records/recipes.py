"""Reads the named recipes, recipes.yaml: how networks are trained, and what is known of that."""

from functools import cache
from pathlib import Path

from pydantic import Field

from experiments.records.config import Recipe
from experiments.records.parsing import Strict, checked, parse, read_yaml
from senet.config import find_row

RECIPES = Path(__file__).parents[1] / "recipes.yaml"


class About(Strict):
    """Holds what a reader should know of a recipe; nothing of it reaches the training.

    seeds          how many a grid trains unless it is told otherwise
    demonstration  true where the training is too short to compare anything
    expect         test error in % that a plain network ends in, from-to, by data set
    spread         standard deviation of that error over seeds in points, where it was measured
    paper_of       the family (how its networks' names begin) for which the recipe "paper" means
                   this one
    """

    what: str
    paper_of: str | None = None
    seeds: int = Field(ge=1)
    demonstration: bool = False
    expect: dict[str, tuple[float, float]] = Field(default_factory=dict)
    spread: dict[str, float] = Field(default_factory=dict)


class RecipeRow(Strict):
    """Holds a row of recipes.yaml."""

    about: About
    recipe: Recipe


@cache
def recipes() -> dict[str, RecipeRow]:
    """Reads the rows of recipes.yaml by name."""
    return {
        name: parse(
            RecipeRow,
            {"about": row.pop("about"), "recipe": {"name": name, **row}},
            f"{RECIPES.name}, {name}",
        )
        for name, row in read_yaml(RECIPES).items()
    }


def recipe_row(name: str, network: str = "") -> RecipeRow:
    """Returns a row by its name; `paper` is that of the network's family, where it has its own."""
    if name == "paper":
        for row in recipes().values():
            if row.about.paper_of and network.startswith(row.about.paper_of):
                return row
    return checked(find_row, "recipe", name, recipes())
