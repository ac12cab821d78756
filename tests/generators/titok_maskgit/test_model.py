"""TiTok's generators: ids, classes, bodies, sampling as released."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators.class_sampling import ClassPredictor, sample_classes
from mimgen.generators.titok_maskgit.model import TiTokMaskGit, released_sampling
from mimgen.types import SampleRNG

SIZES = {"codebook_size": 10, "length": 6, "classes": 3, "width": 16, "heads": 2, "hidden": 24}


def generator(body: str = "bert", depth: int = 3) -> TiTokMaskGit:
    torch.manual_seed(0)
    model = TiTokMaskGit(**SIZES, body=body, depth=depth).eval()
    for name, value in model.named_parameters():
        if not name.endswith("norm.weight"):
            torch.nn.init.normal_(value, std=0.3)
    return model


def tokens() -> torch.Tensor:
    return torch.randint(0, 11, (2, 6), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("body", ["bert", "uvit"])
def test_class_place_and_neighbours_matter(body: str) -> None:
    model, labels = generator(body), torch.tensor([0, 2])
    with torch.no_grad():
        logits = model(tokens(), labels)
        assert logits.shape == (2, 6, 10)
        assert not torch.allclose(logits, model(tokens(), torch.full((2,), model.dropped)))
        changed = tokens()
        changed[:, 5] = (changed[:, 5] + 1) % 11
        assert not torch.allclose(logits[:, 0], model(changed, labels)[:, 0])
        assert not torch.allclose(model(tokens().flip(1), labels).flip(1), logits)
        positions = torch.tensor([[4, 1], [0, 5]])
        some = model(tokens(), labels, positions=positions)
        torch.testing.assert_close(some, logits.gather(1, positions[..., None].expand(-1, -1, 10)))


@pytest.mark.parametrize(("depth", "half"), [(3, 1), (4, 2), (5, 2)])
def test_blocks_of_the_u(depth: int, half: int) -> None:
    model = generator("uvit", depth)
    assert (len(model.in_blocks), len(model.out_blocks)) == (half, half)
    with torch.no_grad():
        before = model(tokens(), torch.tensor([0, 1]))
        # the skip of the outermost block carries the first block's output
        model.out_blocks[-1].skip_linear.weight[:, 16:].zero_()
        assert not torch.allclose(before, model(tokens(), torch.tensor([0, 1])))


def test_saved_generator_is_the_same(tmp_path) -> None:
    model = generator("uvit")
    model.save_pretrained(tmp_path)
    loaded = TiTokMaskGit.from_pretrained(tmp_path)
    labels = torch.tensor([0, 1])
    assert torch.equal(loaded(tokens(), labels), model(tokens(), labels))


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match='"bert" or "uvit"'):
        TiTokMaskGit(**SIZES, body="vit")
    with pytest.raises(UserError, match="3 heads"):
        TiTokMaskGit(**{**SIZES, "heads": 3})
    with pytest.raises(UserError, match="made for 6"):
        generator()(tokens()[:, :4], torch.tensor([0, 1]))
    with pytest.raises(UserError, match="power-cosine"):
        released_sampling(decay="cosine")


def sampled(seeds: list[int], **options: object) -> torch.Tensor:
    model, labels = generator(), torch.tensor([seed % 3 for seed in seeds])
    return sample_classes(model, labels, SampleRNG(seeds), (1, 6), **{**released_sampling(4), **options}).tokens


@pytest.mark.parametrize("codes", [0, 10])
def test_a_row_depends_on_its_own_seed_only(codes: int) -> None:
    options = released_sampling(9, decay="linear", annealed=True, gumbel_codes=codes)  # more steps than tokens
    together, alone = sampled([1, 2], **options), sampled([2], **options)
    assert bool((together < 10).all())
    assert torch.equal(together[1], alone[0])


@pytest.mark.parametrize(
    ("decay", "weights"),
    [
        ("constant", [4.0, 4.0, 4.0, 4.0]),
        ("linear", [1.0, 1.75, 2.5, 3.25]),
        ("power-cosine", [1.0, 1 + 2 * 0.1464466, 2.0, 1 + 2 * 0.8535534]),
    ],
)
def test_guidance_over_the_steps(decay: str, weights: list[float]) -> None:
    guidance = released_sampling(4, guidance_scale=3.0, decay=decay, power=1.0)["guidance"]
    assert [guidance.weight(step, 4) for step in range(4)] == pytest.approx(weights)


def test_predictor_gives_the_class_and_no_class() -> None:
    model, labels = generator(), torch.tensor([2, 0])
    positions = torch.tensor([[0, 3], [1, 2]])
    with torch.no_grad():
        conditional, unconditional = ClassPredictor(model, labels)(tokens(), positions, 0, True)
        plain = ClassPredictor(model, labels)(tokens(), positions, 0, False)
        torch.testing.assert_close(conditional, plain)
        torch.testing.assert_close(unconditional, model(tokens(), torch.tensor([3, 3]), positions=positions))
