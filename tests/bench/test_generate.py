"""`python -m tests.bench generate`: every row generates, exact ones the same, what is counted is what is saved."""

import json
import math
from dataclasses import replace

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.generators.meissonic.speed import PLAIN, Speed
from mimgen.training.precision import Precision
from tests.bench import generate as bench_generate
from tests.bench import generate_composition as bench_generate_composition
from tests.bench import generate_draw as bench_generate_runner
from tests.bench import generate_rows as bench_generate_rows
from tests.bench.generate import bench, main, same_tokens
from tests.bench.generate_composition import compositions, paired
from tests.bench.generate_draw import Cost, GenerationBench, Setting, operations
from tests.bench.generate_peers import PEERS, DiffusersMeissonic, absent, peer, sample
from tests.bench.generate_rows import EXACT, PLAIN_LOOP, Row, every_row, rows
from tests.bench.generate_shapes import SHAPES, encode, pipeline, transformer
from tests.bench.peak_memory import Measured

TINY, SETTING = SHAPES["tiny"], Setting(batch=1, steps=6, guidance=3.0)
# not those that this machine has: the tests must be the same ones everywhere
ALL = {row.name: row for row in every_row(SETTING.steps)}
# compiling takes longer than all the other tests together
QUICK = {name: row for name, row in ALL.items() if not row.compiled}
needs_diffusers = pytest.mark.skipif(bool(absent()), reason="diffusers is too old for the peers")


@pytest.fixture(scope="module")
def runner():
    return GenerationBench(TINY, SETTING)


@pytest.fixture
def quickly(monkeypatch):
    """Memory is measured in a child and rows are compiled; here neither."""

    def cost(row, shape, setting):
        return Cost(2**20, operations(GenerationBench(shape, setting).prepare(row), row))

    monkeypatch.setattr(bench_generate, "cost", cost)
    monkeypatch.setattr(bench_generate, "rows", lambda *_: list(QUICK.values()))


def counted(runner, name):
    return operations(runner.prepare(ALL[name]), ALL[name])


def test_rows_have_names_of_their_own_and_the_plain_loop_comes_first():
    listed = every_row(48)
    assert len({row.name for row in listed}) == len(listed) and listed[0].name == PLAIN_LOOP
    assert {row.kind for row in listed} == set(bench_generate_rows.KINDS)
    assert next(row for row in listed if row.name == "Halton, half the steps").preset["steps"] == 24
    # an exact row switches exact savings only
    assert all(row.speed.exact and set(row.preset) <= {"speed"} for row in listed if row.kind == "exact")
    assert ALL[EXACT].speed == Speed() and ALL["both of these"].speed == PLAIN


def test_each_exact_saving_stands_alone():
    alone = [row.speed for name, row in ALL.items() if name.startswith("+ ")]
    changed = [[key for key in vars(PLAIN) if getattr(speed, key) != getattr(PLAIN, key)] for speed in alone]
    assert all(len(keys) == 1 for keys in changed)
    exact = {key for key, value in vars(Speed()).items() if value is True}
    assert {keys[0] for keys in changed} == exact | {"compile"}


def test_bf16_and_int8_have_rows_only_where_they_can_be_had(monkeypatch):
    monkeypatch.setattr(bench_generate_rows, "choose_precision", lambda *_: Precision("bf16", ""))
    monkeypatch.setattr(bench_generate_rows, "_torchao_works", lambda: True)
    found = {row.name: row for row in rows(8, "fp32", "cpu")}
    assert found["bf16"].weights == "bf16" and not found["int8 weights"].countable
    assert "bf16" not in {row.name for row in rows(8, "bf16", "cpu")}
    monkeypatch.setattr(bench_generate_rows, "choose_precision", lambda *_: Precision("fp32", ""))
    monkeypatch.setattr(bench_generate_rows, "_torchao_works", lambda: False)
    assert {"bf16", "int8 weights"}.isdisjoint(row.name for row in rows(8, "fp32", "cpu"))


@pytest.mark.parametrize("name", [name for name, row in QUICK.items() if row.kind != "peer"])
def test_every_row_draws_whole_images(runner, name):
    if QUICK[name].weights == "int8":
        pytest.importorskip("torchao.quantization", exc_type=ImportError)
    tokens = runner.prepare(QUICK[name])()
    assert tokens.shape == (1, 8, 8) and int(tokens.max()) < TINY.codes
    assert torch.equal(runner.prepare(QUICK[name])(), tokens)


@pytest.mark.parametrize("size", ["tiny", "tiny-compressed"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_exact_rows_draw_the_tokens_of_the_plain_loop(size, guidance):
    found = same_tokens(SHAPES[size], replace(SETTING, batch=2, guidance=guidance), list(QUICK.values()))
    assert set(found) == {name for name, row in QUICK.items() if row.kind == "exact"} and all(found.values())


def test_a_row_that_draws_something_else_is_noticed():
    wrong = Row("wrong", "exact", preset={"order": "halton"})
    assert same_tokens(TINY, SETTING, [wrong]) == {"wrong": False}


def test_images_do_not_depend_on_the_batch(runner):
    both = GenerationBench(TINY, replace(SETTING, batch=2, precision="fp64")).prepare(ALL[PLAIN_LOOP])()
    one = GenerationBench(TINY, replace(SETTING, precision="fp64")).prepare(ALL[PLAIN_LOOP])()
    assert torch.equal(both[:1], one)


def test_operations_are_those_of_the_passes(runner):
    model = runner.model(ALL[PLAIN_LOOP])
    assert isinstance(model, MeissonicTransformer)
    text, tokens = encode(TINY, ["a"]), torch.zeros(1, *TINY.grid, dtype=torch.long)

    def once():
        return model(tokens, text.states, text.pooled, torch.ones(1), torch.tensor([TINY.sizes]))

    whole = 2 * SETTING.steps * operations(once, ALL[PLAIN_LOOP])
    assert counted(runner, PLAIN_LOOP) == counted(runner, "batched guidance") == whole
    # every saving computes less than where it is off; the head alone is a part of a pass
    plain = counted(runner, "both of these")
    assert plain < whole
    for name in ("+ text once", "+ guidance before the last layer", "+ last block where asked"):
        assert counted(runner, EXACT) < counted(runner, name) < plain
    assert operations(runner.prepare(ALL[EXACT]), ALL["+ torch.compile"]) is None


def test_inexact_savings_compute_less(runner):
    exact, halton = counted(runner, EXACT), counted(runner, "Halton")
    assert 0.6 * exact < counted(runner, "guidance in the first half") < 0.9 * exact
    assert counted(runner, "guidance anew every 2 steps") < 0.9 * exact
    caches = [counted(runner, f"Halton, feature cache every {every}") for every in (2, 4, 8)]
    assert halton > caches[0] > caches[1] >= caches[2]
    assert counted(runner, "Halton, half the steps") < 0.6 * halton
    assert counted(runner, "all together") < 0.5 * halton


@needs_diffusers
@pytest.mark.parametrize("size", ["tiny", "tiny-compressed"])
def test_diffusers_blocks_compute_our_logits(size):
    shape = SHAPES[size]
    ours, theirs = transformer(shape), DiffusersMeissonic(shape).eval()
    theirs.load_weights(ours)
    text, tokens = encode(shape, ["a", "b"]), torch.randint(0, shape.vocabulary, (2, *shape.grid))
    given = (tokens, text.states, text.pooled, torch.tensor([0.3, 0.9]), torch.tensor(shape.sizes).expand(2, -1))
    with torch.no_grad():
        torch.testing.assert_close(theirs(*given).flatten(2).transpose(1, 2), ours(*given), rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())


@needs_diffusers
@pytest.mark.parametrize("kind", PEERS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_peers_draw_whole_images(kind, guidance):
    model, text = peer(kind, TINY), encode(TINY, ["a", "b"])
    tokens = sample(model, TINY, text, encode(TINY, ["", ""]), 4, guidance)
    assert tokens.shape == (2, 8, 8) and int(tokens.max()) < TINY.codes
    layers = [name for name, _ in model.named_modules() if name.endswith((".attn1", ".attn", "blocks.0.attn"))]
    assert len(layers) == TINY.joint + TINY.single


def test_stand_ins_depend_on_the_prompt_only():
    text = encode(TINY, ["a", "b", "a"])
    assert torch.equal(text.states[0], text.states[2]) and not torch.equal(text.states[0], text.states[1])
    sampled = pipeline(TINY, transformer(TINY), steps=2)(["a"], seed=0)
    assert sampled.images.shape == (1, 3, 1, 1)


def test_memory_and_operations_of_a_row(monkeypatch):
    def here(prepare, arguments):
        return Measured(5, prepare(*arguments)())

    monkeypatch.setattr(bench_generate_runner, "measured_in_child", here)
    found = bench_generate_runner.cost(ALL[EXACT], TINY, SETTING)
    assert found == Cost(5, counted(GenerationBench(TINY, SETTING), EXACT))


def test_the_table(quickly, tmp_path, capsys):
    out = tmp_path / "speed.json"
    words = ["--sizes", "tiny", "--steps", "2", "--repeats", "1", "--device", "cpu", "--kinds", "exact"]
    assert main([*words, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("yes (") == sum(row.kind == "exact" for row in QUICK.values()) and "NO" not in printed
    result = json.loads(out.read_text())
    found = result["scores"]["tiny"]["rows"]
    assert set(found) == {name for name, row in QUICK.items() if row.kind in ("plain", "exact")}
    plain = found[PLAIN_LOOP]
    assert plain["speed"] == plain["operations"] == 1
    assert plain["tokens_per_s"] == pytest.approx(64 / plain["seconds"])
    assert found[EXACT]["operations"] == pytest.approx(found[EXACT]["gflop"] / plain["gflop"])
    assert out.with_suffix(".html").exists() and result["protocol"]["steps"] == 2


def test_a_different_image_fails(quickly, monkeypatch, capsys):
    monkeypatch.setattr(bench_generate, "same_tokens", lambda shape, setting, chosen: {EXACT: False})
    words = ["--sizes", "tiny", "--steps", "2", "--repeats", "1", "--device", "cpu"]
    assert main([*words, "--kinds", "exact", "--only", EXACT]) == 1
    assert "NO (" in capsys.readouterr().out


def test_without_diffusers_the_peers_are_left_out(quickly, monkeypatch, capsys):
    monkeypatch.setattr(bench_generate, "absent", lambda: "diffusers>=0.35")
    assert main(["--sizes", "tiny", "--steps", "1", "--repeats", "1", "--device", "cpu", "--kinds", "peer"]) == 0
    printed = capsys.readouterr().out
    assert "pip install 'diffusers>=0.35'" in printed and "UVit2DModel |" not in printed


def test_without_a_compiler_its_rows_are_left_out(monkeypatch):
    def there(device="cpu"):
        return [row.name for row in bench_generate._chosen("exact", "", list(ALL.values()), device)]

    monkeypatch.setattr(bench_generate.shutil, "which", lambda name: None)
    assert EXACT in there() and "+ torch.compile" not in there()
    monkeypatch.setattr(bench_generate.shutil, "which", lambda name: "/usr/bin/g++")
    assert "+ torch.compile" in there()
    monkeypatch.setattr(bench_generate, "find_spec", lambda name: None)
    assert "+ torch.compile" not in there("cuda")


def test_paired_differences():
    one = paired([True, True, False, False], [True, False, False, False])
    assert one.difference == 25 and one.error == pytest.approx(25)
    assert paired([True, False], [False, True]).difference == 0
    same = paired([True, False, True], [True, False, True])
    assert (same.difference, same.error) == (0, 0)
    assert math.isnan(paired([True], [False]).error)


def test_compositions_compare_inexact_rows_with_all_exact(quickly, monkeypatch, capsys):
    requested = []

    class Scorer:
        @classmethod
        def open(cls, prompts, seed):
            return cls()

        def __call__(self, row, common):
            requested.append({**common, **row.preset})
            return (1, 9, 1, 3) if row.name == EXACT else (1, 1, 2, 8)

    monkeypatch.setattr(bench_generate_composition, "_Scorer", Scorer)
    found = compositions(QUICK.values(), 4, 8, 3.0, 0.5, 0)
    assert set(found) == {EXACT, *(name for name, row in QUICK.items() if row.kind == "inexact")}
    assert found[EXACT] == {"r1": 50, "r5": 75, "prompts": 4}
    assert found["Halton"]["r1_difference"] == 0 and found["Halton"]["r1_error"] == pytest.approx(100 * 6**-0.5)
    assert (
        requested[0]["order"] == "confidence"
        and requested[0]["steps"] == 8
        and requested[0]["token_temperature"] == 0.5
    )
    words = ["--sizes", "tiny", "--steps", "2", "--repeats", "1", "--device", "cpu", "--composition", "4"]
    assert main([*words, "--kinds", "inexact", "--only", "guidance"]) == 0
    assert "+0.0 +- 40.8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"sizes": "smal"}, "did you mean small"),
        ({"kinds": "exakt"}, "did you mean exact"),
        ({"only": "no such row"}, "no row of the kinds"),
        ({"steps": 0}, "0 steps"),
        ({"batch": 0}, "0 batch"),
        ({"repeats": 0}, "0 repeats"),
        ({"composition": -1}, "composition of -1"),
    ],
)
def test_mistakes_are_named(given, expected):
    with pytest.raises(UserError, match=expected):
        bench(**{"sizes": "tiny", "device": "cpu", **given})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(UserError, match="no GPU"):
        bench("tiny", device="cuda")
