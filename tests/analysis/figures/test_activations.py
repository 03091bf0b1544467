"""The figures of the gates, against the numbers that they are drawn from."""

import io
import itertools
import re
from dataclasses import replace

import drawn_gates
import numpy as np
import pytest
from drawn_gates import CIFAR10, NINE, block_of, drawn, frame, gates, simulated
from matplotlib.colors import to_rgba
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from analysis.figures import activations, replacements, walk
from analysis.figures.style import METADATA
from analysis.page import gate_captions
from experiments.records.gates import pack_gates, spaced, unpack
from experiments.records.parsing import ConfigError

style = drawn_gates.style  # a fixture for all tests
FIFTY_FOUR = [f"SE_{stage}_{block}" for stage in (2, 3, 4) for block in range(1, 19)]
FIGURES = {
    "figure 6": lambda: activations.figure6(gates()),
    "figure 7": lambda: activations.figure7(gates()),
    "specificity": lambda: activations.specificity([gates(), gates(seed=50)]),
    "walk": lambda: walk.walk(gates()),
    "interventions": lambda: replacements.interventions(frame()),
}


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
    (tmp_path / "gates.npz").write_bytes(pack_gates(found, seed=0))
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
    assert activations.drawn_blocks(names) == wanted


def test_of_many_blocks_without_stages_nine_are_shown():
    chosen = activations.drawn_blocks([f"features.{i}" for i in range(30)])
    assert len(chosen) == 9 and chosen[0] == "features.0" and chosen[-1] == "features.29"


def test_54_blocks_and_100_classes_are_drawn():
    names = [f"class {i}" for i in range(100)]
    found = gates(names=FIFTY_FOUR, class_names=names, channels=16, kept=6)
    panels = drawn(activations.figure6(found))
    assert [ax.get_title(loc="left") for ax in panels] == activations.drawn_blocks(FIFTY_FOUR)
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
    ("gate", "low", "high", "less"),
    [
        (None, 0, 1, 0),  # of a gate that nobody knows: as it is
        ("sigmoid", 0.49, 0.51, 0.5),
        ("tanh", -1, 1, 0),
        ("softmax", 0, 0.01, 1 / 64),
    ],
)
def test_the_axis_shows_what_there_is_and_a_known_gate_less_its_start(gate, low, high, less):
    found = gates(low=low, high=high)
    ax, *_ = drawn(activations.figure6(found, gate=gate))
    bottom, top = ax.get_ylim()
    drawn_mean = curves(ax)["all classes"]
    block = found.blocks["SE_2_1"]
    assert drawn_mean == pytest.approx(block.mean[spaced(64, 50)] - less)
    data = np.concatenate([line.get_ydata() for a in ax.figure.axes for line in a.get_lines()])
    assert bottom <= data.min() and data.max() <= top
    assert top - bottom < 1.5 * np.ptp(data)


def test_specificity_draws_medians_quartiles_and_the_other_seeds():
    runs = [gates(low=-0.9, high=1.9), gates(seed=50), gates(seed=90)]
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
    [left] = drawn(activations.specificity([found]))
    assert [text.get_text() for text in left.texts] == ["no gate varies"]
    assert "No gate varies" in gate_captions.specificity([found], None).text


def test_the_caption_of_a_network_with_one_block_names_it():
    said = gate_captions.specificity([gates(names=["SE_2_1"])], None).text
    assert re.fullmatch(r"The share .* is \d+ % in SE_2_1, in the median channel\.", said)


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
