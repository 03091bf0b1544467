"""What a record keeps of the gates, and what is done with them in their place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.records.gates import LIMIT, Block, Gates, Walk, most, pack_gates, spaced, unpack
from experiments.records.parsing import ConfigError
from senet import SEConfig, build
from senet.block import SqueezeExcite
from senet.interventions import REPLACEMENTS, replaced, stages_of
from senet.probe import GateProbe


def made(widths: list[int], classes: int, seed: int = 0) -> Gates:
    """Gates as a probe sees them, of random numbers."""
    random = np.random.default_rng(seed)
    blocks = {
        f"SE_{2 + i}_1": Block(
            *random.random((3, width)), np.arange(width), *random.random((2, classes, width))
        )
        for i, width in enumerate(widths)
    }
    walk = Walk(
        random.integers(0, 256, (32, 32, 3)).astype(np.uint8), 3, "SE_2_1",
        *random.random((2, widths[0])), np.arange(4), random.normal(size=(4, 16, 16)),
    )  # fmt: skip
    return Gates([f"class {c}" for c in range(classes)], np.full(classes, 100), blocks, walk)


def kept(gates: Gates, folder: Path, seed: int) -> Gates:
    (folder / "gates.npz").write_bytes(pack_gates(gates, seed))
    return unpack(folder / "gates.npz")


def test_what_is_kept_comes_back_to_three_digits(tmp_path):
    gates = made([64, 128], 10)
    back = kept(gates, tmp_path, seed=3)
    assert back.class_names == gates.class_names and back.images.tolist() == [100] * 10
    for name, block in gates.blocks.items():
        for field in ("mean", "std", "between", "class_mean", "class_std"):
            np.testing.assert_allclose(
                getattr(back.blocks[name], field), getattr(block, field), rtol=1e-3, atol=1e-6
            )
        assert np.array_equal(back.blocks[name].channels, block.channels)
    for field in ("z", "s", "x"):
        np.testing.assert_allclose(
            getattr(back.walk, field), getattr(gates.walk, field), rtol=1e-3, atol=1e-6
        )
    assert np.array_equal(back.walk.image, gates.walk.image) and back.walk.label == 3


@pytest.mark.parametrize(
    ("widths", "classes", "seed", "by_class"),
    [
        ([64] * 3 + [128] * 3 + [256] * 3, 10, 4, [64] * 3 + [128] * 3 + [256] * 3),  # resnet29b
        ([64] * 18 + [128] * 18 + [256] * 18, 10, 0, None),  # preresnet164
        ([64] * 3 + [128] * 3 + [256] * 3, 100, 0, None),  # CIFAR-100
        ([64] * 3 + [128] * 3 + [256] * 3, 100, 1, [0] * 9),
        ([256, 512, 1024, 2048] * 8, 100, 0, [0] * 32),  # not even all channels over all classes
    ],
)
def test_the_file_stays_below_its_limit_and_holds_as_much_as_fits(
    tmp_path, widths, classes, seed, by_class
):
    back = kept(made(widths, classes), tmp_path, seed)
    size = (tmp_path / "gates.npz").stat().st_size
    found = [len(block.channels) for block in back.blocks.values()]
    assert size <= LIMIT
    means = [len(block.mean) for block in back.blocks.values()]
    assert means == widths or (sum(widths) > 16_000 and max(means) < 2048 and size > 0.7 * LIMIT)
    if by_class is None:  # a sample, as large as it can be
        assert len(set(found)) == 1 and 10 < found[0] < 64 and size > 0.7 * LIMIT
    else:
        assert found == by_class


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(-5, 5000))
def test_as_many_channels_a_block_as_there_is_room_for(widths, room):
    k = most(widths, room)
    assert sum(min(k, w) for w in widths) <= max(0, room)
    assert k == max(widths) or sum(min(k + 1, w) for w in widths) > room


def test_channels_are_spaced_from_the_first_to_the_last():
    assert spaced(64, 64).tolist() == list(range(64))
    assert spaced(100, 4).tolist() == [0, 33, 66, 99]


def test_a_gate_beyond_float16_is_the_largest_number_and_no_infinity(tmp_path):
    gates = made([8], 10)
    gates.blocks["SE_2_1"].mean[0] = 1e9
    assert kept(gates, tmp_path, 0).blocks["SE_2_1"].mean[0] == np.finfo(np.float16).max


@pytest.mark.parametrize("content", [b"", b"PK", b"not an archive"])
def test_a_file_that_is_none_is_one_sentence(tmp_path, content):
    (tmp_path / "gates.npz").write_bytes(content)
    with pytest.raises(ConfigError, match="gates\\.npz cannot be read"):
        unpack(tmp_path / "gates.npz")


# -- other gates in their place ---------------------------------------------------------------


def network(**choices) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build("resnet20", se=SEConfig(ratio=4, **choices)).train()
    with torch.no_grad():
        model(torch.randn(32, 3, 32, 32))
    return model.eval()


def by_hand(model: torch.nn.Module, x: torch.Tensor, gates: dict[str, torch.Tensor]):
    """The model's output with these gates, put there by replacing each block's forward."""
    blocks = [m for m in model.modules() if isinstance(m, SqueezeExcite) and m.name in gates]
    for block in blocks:
        block.forward = lambda u, s=gates[block.name]: u * s[:, :, None, None]
    with torch.no_grad():
        y = model(x)
    for block in blocks:
        del block.forward
    return y


def seen_gates(model: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    gates, handles = {}, []
    for block in model.modules():
        if isinstance(block, SqueezeExcite):
            keep = lambda gate, args, s, name=block.name: gates.update({name: s})  # noqa: E731
            handles.append(block.gate.register_forward_hook(keep))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return gates


@pytest.mark.parametrize("how", REPLACEMENTS)
@pytest.mark.parametrize("only", [("2", "3", "4"), ("2",), ("4",)])
def test_replaced_gates_are_what_they_are_called(how, only):
    model, x = network(), torch.randn(6, 3, 32, 32)
    labels = torch.zeros(6, dtype=torch.long)
    with GateProbe(model, 1) as probe:
        before = probe(x, labels)
    means = {name: found.overall()[0] for name, found in probe.statistics().items()}
    names = [name for stage in only for name in stages_of(model)[stage]]
    if how == "another" and len(only) > 1:
        # the gates of a block change what the next one sees: follow it block by block
        with replaced(model, how, {name: means[name] for name in names}), torch.no_grad():
            assert not torch.allclose(model(x), before)
        return
    real = seen_gates(model, x)  # of the first replaced block exactly, as nothing changed before it
    wanted = {
        "mean": {name: means[name].float().expand(6, -1) for name in names},
        "half": {name: torch.full((6, len(means[name])), 0.5) for name in names},
        "one": {name: torch.ones(6, len(means[name])) for name in names},
        "another": {names[0]: real[names[0]].roll(1, 0)},
    }[how]
    chosen = {name: means[name] for name in (names[:1] if how == "another" else names)}
    with replaced(model, how, chosen), torch.no_grad():
        after = model(x)
    torch.testing.assert_close(after, by_hand(model, x, wanted))
    assert not torch.allclose(after, before)
    with torch.no_grad():
        assert torch.equal(model(x), before)  # and nothing is left behind


def test_the_hooks_come_off_after_an_error_too():
    model = network()
    with pytest.raises(RuntimeError), replaced(model, "one", {"SE_2_1": torch.zeros(16)}):
        raise RuntimeError
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("squeeze", ["none", "another", "max"])
@settings(deadline=None)
@given(how=st.sampled_from(list(REPLACEMENTS)))
def test_every_squeeze_can_be_replaced(squeeze, how):
    model, x = network(squeeze=squeeze), torch.randn(3, 3, 32, 32)
    means = {f"SE_2_{b}": torch.full((16,), 0.3) for b in (1, 2, 3)}
    with replaced(model, how, means), torch.no_grad():
        assert model(x).isfinite().all()


def test_blind_gates_and_plain_networks_have_nothing_to_replace():
    assert stages_of(network(excitation="constant")) == {} == stages_of(build("resnet20"))
    assert list(stages_of(network(stages=[3]))) == ["3"]
