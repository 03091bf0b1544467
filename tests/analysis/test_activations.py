"""The figures of the gates, against the numbers that they are drawn from."""

import io
import itertools
import math
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from analysis.figures import activations, replacements, walk
from analysis.figures.style import METADATA, STYLE
from analysis.statistics import interventions
from analysis.statistics.stats import interval
from experiments.records.gates import Block, Gates, Walk, pack, spaced, unpack
from experiments.records.parsing import ConfigError

NINE = [f"SE_{stage}_{block}" for stage in (2, 3, 4) for block in (1, 2, 3)]
FIFTY_FOUR = [f"SE_{stage}_{block}" for stage in (2, 3, 4) for block in range(1, 19)]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
           "truck"]  # fmt: skip


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context(STYLE):
        yield


def simulated(images: np.ndarray, channels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gates (images, channels) that depend on the class, and the classes (images,)."""
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(len(images)), images)
    means = random.normal(0, 1, (len(images), channels))
    logits = means[classes] + random.normal(
        0, random.uniform(0.2, 3, channels), (len(classes), channels)
    )
    return 1 / (1 + np.exp(-logits)), classes


def block_of(s: np.ndarray, classes: np.ndarray, kept: int) -> Block:
    groups = [s[classes == c] for c in np.unique(classes)]
    class_mean, class_std = (np.stack([f(g, 0) for g in groups]) for f in (np.mean, np.std))
    between = class_mean[classes].std(0)
    sample = spaced(s.shape[1], kept)
    return Block(s.mean(0), s.std(0), between, sample, class_mean[:, sample], class_std[:, sample])


def gates(
    names=NINE, class_names=CIFAR10, channels=64, kept=64, low=0.0, high=1.0, seed=0
) -> Gates:
    """Gates of several blocks, spread from `low` to `high`."""
    images = np.arange(5, 5 + len(class_names))
    blocks = {}
    for number, name in enumerate(names):
        s, classes = simulated(images, channels, seed + number)
        blocks[name] = block_of(low + (high - low) * s, classes, kept)
    random = np.random.default_rng(seed)
    walk = Walk(
        image=random.integers(0, 256, (32, 32, 3), dtype=np.uint8), label=3, block=names[0],
        z=random.normal(0, 1, channels), s=random.uniform(0, 1, channels),
        channels=np.array([4, 0, 11, 7, 2, 9]), x=random.normal(0, 1, (6, 8, 8)),
    )  # fmt: skip
    return Gates(list(class_names), images, blocks, walk)


def frame(rise: float = 1.0, seeds: int = 3, stages=("2", "3", "4")) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        [
            (seed, where, how, scale * rise * random.normal(1, 0.2), 1000)
            for seed in range(seeds)
            for where in ("all", *stages)
            for how, scale in {"mean": 1, "another": 2, "half": 3, "one": 30}.items()
        ],
        columns=["seed", "where", "how", "rise", "n_images"],
    )


FIGURES = {
    "figure 6": lambda: activations.figure6(gates()),
    "figure 7": lambda: activations.figure7(gates()),
    "specificity": lambda: activations.specificity([gates(), gates(seed=50)]),
    "walk": lambda: walk.walk(gates()),
    "interventions": lambda: replacements.interventions(frame()),
}


def drawn(figure) -> list:
    """The panels of a figure that show something."""
    return [ax for ax in figure.axes if ax.axison]


def curves(ax) -> dict[str, np.ndarray]:
    """Label without the number of images -> what is drawn."""
    return {line.get_label().split(" (n")[0]: line.get_ydata() for line in ax.get_lines()}


def test_the_share_of_the_classes_is_eta_squared():
    images = np.array([5, 9, 30, 2])
    s, classes = simulated(images, 12)
    total = ((s - s.mean(0)) ** 2).sum(0)
    within = sum(((s[classes == c] - s[classes == c].mean(0)) ** 2).sum(0) for c in range(4))
    share = block_of(s, classes, 12).class_share()
    assert share == pytest.approx(1 - within / total)
    assert share.min() < 0.3 and share.max() > 0.6  # both kinds of channels are among them


def test_the_share_survives_the_record(tmp_path):
    found = gates()
    (tmp_path / "gates.npz").write_bytes(pack(found, seed=0))
    stored = unpack(tmp_path / "gates.npz")
    for name, block in found.blocks.items():
        share = stored.blocks[name].class_share()
        assert share == pytest.approx(block.class_share(), rel=5e-3)


def test_channels_that_do_not_vary_have_no_share():
    s, classes = simulated(np.array([10, 10]), 6)
    s[:, [1, 4]] = [0.5, 1.0]
    rest = np.delete(s, [1, 4], axis=1)
    share = block_of(s, classes, 6).class_share()
    assert share == pytest.approx(block_of(rest, classes, 4).class_share())


def test_classes_that_mean_nothing_explain_what_chance_does():
    random = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [20, 30, 50])
    share = block_of(random.normal(0, 1, (100, 4000)), classes, 1).class_share()
    assert activations.chance_share(np.array([20, 0, 30, 50])) == 2 / 99
    assert share.mean() == pytest.approx(2 / 99, rel=0.05)


def test_saturation_counts_channels_at_both_ends():
    mean = np.array([0.05, 0.5, 0.95, 0.99, 0.2])
    block = replace(gates(names=["SE_2_1"]).blocks["SE_2_1"], mean=mean)
    assert activations.saturation(block) == (0.2, 0.4)


@pytest.mark.parametrize("channels, number", [(50, 50), (None, 64), (100, 64), (7, 7)])
def test_figure_6_draws_the_means_it_is_given(channels, number):
    found = gates()
    panels = drawn(activations.figure6(found, channels=channels))
    assert [ax.get_title(loc="left") for ax in panels] == NINE
    places = spaced(64, number)
    for ax, block in zip(panels, found.blocks.values(), strict=True):
        lines = curves(ax)
        assert list(lines) == ["all classes", "dog", "airplane", "frog", "ship"]
        assert np.array_equal(lines.pop("all classes"), block.mean[places])
        for name, line in lines.items():
            assert np.array_equal(line, block.class_mean[CIFAR10.index(name), places])
        assert ax.get_title(loc="right") == f"{number} of 64"


def test_the_mean_is_that_of_the_channels_that_are_kept_by_class():
    found = gates(channels=64, kept=6)
    for ax, block in zip(drawn(activations.figure6(found)), found.blocks.values(), strict=True):
        assert np.array_equal(curves(ax)["all classes"], block.mean[block.channels])
        assert len(block.channels) == 6


def test_the_mean_over_classes_is_black_and_no_class_is():
    first, *classes = drawn(activations.figure6(gates()))[0].get_lines()
    assert to_rgba(first.get_color()) == to_rgba("k")
    looks = {(to_rgba(line.get_color()), line.get_linestyle()) for line in [first, *classes]}
    assert len(looks) == 5 and len({look[1] for look in looks}) == 4


def test_figure_6_says_how_many_images_a_class_has():
    [legend] = activations.figure6(gates()).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:3] == ["all classes (n = 95)", "dog (n = 10)", "airplane (n = 5)"]


def test_figure_7_is_a_band_of_one_deviation_around_the_mean():
    found = gates()
    panels = drawn(activations.figure7(found, channels=None))
    assert [ax.get_title(loc="left") for ax in panels] == NINE
    for ax, block in zip(panels, found.blocks.values(), strict=True):
        assert list(curves(ax)) == ["dog", "airplane"]
        for name, band in zip(("dog", "airplane"), ax.collections, strict=True):
            number = CIFAR10.index(name)
            mean, std = block.class_mean[number], block.class_std[number]
            assert np.array_equal(curves(ax)[name], mean)
            corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
            wanted = {*enumerate(mean - std), *enumerate(mean + std)}
            assert wanted <= corners


@pytest.mark.parametrize(
    "names, wanted",
    [
        (NINE, NINE),
        (FIFTY_FOUR, ["SE_2_18", "SE_3_18", "SE_4_16", "SE_4_17", "SE_4_18"]),
        (
            [f"SE_{s}_{b}" for s, n in ((2, 3), (3, 4), (4, 6), (5, 3)) for b in range(1, n + 1)],
            ["SE_2_3", "SE_3_4", "SE_4_6", "SE_5_1", "SE_5_2", "SE_5_3"],  # as in the paper
        ),
        ([*FIFTY_FOUR[:36], "SE_4_1"], ["SE_2_18", "SE_3_18", "SE_4_1"]),
        (["features.3"], ["features.3"]),
    ],
)
def test_more_than_nine_blocks_are_chosen_as_in_the_paper(names, wanted):
    assert activations.shown(names) == wanted


def test_of_many_blocks_without_stages_nine_are_shown():
    chosen = activations.shown([f"features.{i}" for i in range(30)])
    assert len(chosen) == 9 and chosen[0] == "features.0" and chosen[-1] == "features.29"


def test_54_blocks_and_100_classes_are_drawn():
    names = [f"class {i}" for i in range(100)]
    found = gates(names=FIFTY_FOUR, class_names=names, channels=16, kept=6)
    panels = drawn(activations.figure6(found))
    assert [ax.get_title(loc="left") for ax in panels] == activations.shown(FIFTY_FOUR)
    assert list(curves(panels[0]))[1:] == ["class 0", "class 33", "class 66", "class 99"]


def test_default_classes_are_the_papers_where_the_data_set_has_them():
    hundred = [f"class {i}" for i in range(96)] + ["wolf", "mountain", "rocket", "aquarium_fish"]
    names = activations.default_classes(gates(names=["SE_2_1"], class_names=hundred))
    assert names == ("aquarium_fish", "wolf", "rocket", "mountain")
    assert activations.default_classes(gates(names=["SE_2_1"], class_names=["a", "b"])) == (
        "a",
        "b",
    )


@pytest.mark.parametrize("draw", [activations.figure6, activations.figure7])
def test_an_unknown_class_is_one_sentence(draw):
    with pytest.raises(ConfigError, match=r"^unknown class 'plane': did you mean 'airplane'\? .*"):
        draw(gates(), classes=["dog", "plane"])


@pytest.mark.parametrize("draw", [activations.figure6, activations.figure7])
def test_no_gates_by_class_is_one_sentence(draw):
    with pytest.raises(ConfigError, match=r"^the gates by class are kept for seed 0 only$"):
        draw(gates(kept=0))


@pytest.mark.parametrize(
    "low, high, wanted",
    [
        (0, 1, (0, 1)),  # sigmoid
        (0.49, 0.51, (0, 1)),
        (-1, 1, None),  # tanh
        (0, 4, None),  # ReLU
        (0, 0.01, None),  # softmax
    ],
)
def test_gates_between_0_and_1_are_drawn_on_that_scale_and_others_on_their_own(low, high, wanted):
    ax = drawn(activations.figure6(gates(low=low, high=high)))[0]
    bottom, top = ax.get_ylim()
    if wanted:
        assert (bottom, top) == wanted
    else:
        data = np.concatenate([line.get_ydata() for a in ax.figure.axes for line in a.get_lines()])
        assert bottom <= min(0, data.min()) and data.max() <= top < 1.5 * data.max()


def test_specificity_draws_medians_quartiles_and_the_other_seeds():
    runs = [gates(), gates(seed=50), gates(seed=90)]
    left, right = drawn(activations.specificity(runs))
    assert [text.get_text() for text in left.get_xticklabels()] == NINE
    medians = [[np.median(block.class_share()) for block in run.blocks.values()] for run in runs]
    lines = [list(line.get_ydata()) for line in left.get_lines()]
    assert all(median in lines for median in medians)
    [bars] = left.containers[0].lines[2]
    shares = [block.class_share() for block in runs[0].blocks.values()]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert ends == pytest.approx(np.array([np.quantile(s, [0.25, 0.75]) for s in shares]))
    high, low = (line.get_ydata() for line in right.get_lines()[:2])
    assert list(zip(low, high, strict=True)) == [
        activations.saturation(block) for block in runs[0].blocks.values()
    ]
    between = [line.get_xdata()[0] for line in right.get_lines()[2:]]
    assert between == [2.5, 5.5]  # the stages


def test_specificity_of_gates_that_do_not_vary_says_so():
    found = gates(low=0.5, high=0.5)
    left, _ = drawn(activations.specificity([found]))
    assert [text.get_text() for text in left.texts] == ["no gate varies"]


def test_the_walk_multiplies_each_map_by_its_gate_on_one_scale():
    found = gates()
    seen = found.walk
    figure = walk.walk(found)
    shown, *maps = [ax.images[0] for ax in figure.axes if ax.images]
    assert np.array_equal(shown.get_array(), seen.image)
    before, after = maps[:6], maps[6:]
    for image, number, x, out in zip(before, seen.channels, seen.x, after, strict=True):
        assert np.array_equal(image.get_array(), x)
        assert np.asarray(out.get_array()) == pytest.approx(seen.s[number] * x)
        assert image.axes.get_title(loc="center") == f"u{number}"
        assert out.axes.get_title(loc="center") == f"× {seen.s[number]:.2f}"
    assert len({image.get_clim() for image in maps}) == 1
    bars = [(ax, ax.patches[0].get_data().values) for ax in figure.axes if is_bars(ax)]
    [(squeezed, z), (excited, s)] = bars
    assert list(z) == list(seen.z) and list(s) == sorted(seen.s, reverse=True)
    for ax, values, heights in ((squeezed, seen.z, z), (excited, seen.s, s)):
        xs, ys = np.hstack([line.get_data() for line in ax.get_lines()])
        assert list(ys) == list(values[seen.channels])
        assert list(heights[xs.astype(int)]) == list(ys)  # a mark is on the bar that it is about
    heads = [part.get_suptitle() for part in figure.subfigs]
    assert '"cat"' in heads[0] and "SE_2_1" in heads[1] and "64 × 8 × 8" in heads[1]


def is_bars(ax) -> bool:
    return bool(ax.patches) and isinstance(ax.patches[0], StepPatch)


def test_no_walk_is_one_sentence():
    with pytest.raises(ConfigError, match=r"^no image was followed through a block: .*$"):
        walk.walk(replace(gates(), walk=None))


def test_rises_by_hand():
    done = {
        "images": 100, "intact": 20.0, "all": {"mean": 22.0, "one": 80.0},
        "stages": {"2": {"mean": 19.5, "one": 20.0}},
    }  # fmt: skip
    runs = pd.DataFrame(
        {"seed": [0, 1, 2, 3], "interventions": [done, {}, math.nan, done | {"stages": {}}]}
    )
    assert interventions.intervention_frame(runs).to_dict("split")["data"] == [
        [0, "all", "mean", 2.0, 100],
        [0, "all", "one", 60.0, 100],
        [0, "2", "mean", -0.5, 100],
        [0, "2", "one", 0.0, 100],
        [3, "all", "mean", 2.0, 100],
        [3, "all", "one", 60.0, 100],
    ]


@pytest.mark.parametrize(
    "runs",
    [pd.DataFrame({"seed": [0]}), pd.DataFrame({"seed": [0, 1], "interventions": [{}, math.nan]})],
)
def test_runs_that_replaced_nothing_give_no_rows_and_no_figure(runs):
    found = interventions.intervention_frame(runs)
    assert list(found) == ["seed", "where", "how", "rise", "n_images"] and found.empty
    with pytest.raises(ConfigError, match=r"^no gates were replaced in these runs$"):
        replacements.interventions(found)


def test_interventions_draw_seeds_their_mean_and_its_interval():
    errors = frame()
    figure = replacements.interventions(errors)
    left, right = drawn(figure)
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "mean over images", "another image's", "1/2", "1"
    ]  # fmt: skip
    wanted = [
        errors.rise[(errors["where"] == where) & (errors.how == how)]
        for where in ("all", "2", "3", "4")
        for how in interventions.WORDS
    ]
    bars = [*left.containers, *right.containers]
    seeds = [
        list(line.get_xdata()) for ax in (left, right) for line in ax.get_lines()
        if len(line.get_xdata()) == 3
    ]  # fmt: skip
    assert seeds == [list(rises) for rises in wanted]
    for bar, rises in zip(bars, wanted, strict=True):
        mean, half = interval(rises)
        [segment] = bar.lines[2][0].get_segments()
        assert bar.lines[0].get_xdata() == [mean]
        assert segment[:, 0] == pytest.approx([mean - half, mean + half])


def test_one_seed_of_a_network_with_one_stage_has_one_panel_and_no_interval():
    figure = replacements.interventions(frame(seeds=1, stages=()))
    [ax] = drawn(figure)
    [text] = figure.legends[0].get_texts()
    assert text.get_text() == "the one seed: no interval"
    for bar in ax.containers:
        assert not np.isfinite(bar.lines[2][0].get_segments()).any(axis=1).all()


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_the_same_bytes_every_time(draw):
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        draw().savefig(file, format="pdf", metadata=METADATA["pdf"])
    assert first.getvalue() == second.getvalue()


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_no_two_labels_overlap(draw, monkeypatch):
    boxes = {}

    def note(text, renderer):
        if text.get_visible() and text.get_text().strip():
            boxes[text] = text.get_window_extent(renderer)

    figure = draw()
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", note)  # of the ticks only those that are drawn
        figure.savefig(io.BytesIO(), dpi=100)
    assert len(boxes) > 10
    for one, another in itertools.combinations(boxes, 2):
        assert not boxes[one].overlaps(boxes[another]), (one, another)
    whole = figure.bbox.width, figure.bbox.height
    assert all(box.min.min() > -1 and (box.max < whole).all() for box in boxes.values())
