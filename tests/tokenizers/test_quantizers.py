"""What every quantiser promises, and each one's own mathematics."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from mimgen.errors import UserError
from mimgen.tokenizers.quantizers import (
    BinarySphericalQuantizer,
    FiniteScalarQuantizer,
    IndexBackpropQuantizer,
    LookupFreeQuantizer,
    ResidualQuantizer,
    SimpleVectorQuantizer,
    VectorQuantizer,
)

MAKERS = {
    "vq": lambda: VectorQuantizer(6, 16),
    "vq_cosine": lambda: VectorQuantizer(6, 16, code_dim=3, cosine=True, rotation=True),
    "lfq": lambda: LookupFreeQuantizer(6),
    "lfq_projected": lambda: LookupFreeQuantizer(6, 4),
    "lfq_little": lambda: LookupFreeQuantizer(6, little_endian=True),
    "bsq": lambda: BinarySphericalQuantizer(6, 4),
    "simvq": lambda: SimpleVectorQuantizer(6, 16),
    "simvq_straight": lambda: SimpleVectorQuantizer(6, 16, code_dim=3, rotation=False),
    "ibq": lambda: IndexBackpropQuantizer(6, 16),
    "ibq_cosine": lambda: IndexBackpropQuantizer(6, 16, code_dim=4, entropy=0.0, cosine=True),
    "residual": lambda: ResidualQuantizer(6, 8, 3, code_dim=4),
    "fsq": lambda: FiniteScalarQuantizer((4, 3, 3), dim=6),
}


def latents(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=MAKERS)
def quantizer(request):
    torch.manual_seed(0)
    return MAKERS[request.param]()


def test_codes_have_the_promised_shapes_and_a_gradient(quantizer):
    x = latents(2, 6, 4, 5).requires_grad_()
    codes = quantizer(x)
    assert codes.indices.shape == (2, 4, 5)
    assert codes.indices.dtype == torch.int64
    assert 0 <= codes.indices.min() <= codes.indices.max() < quantizer.codebook_size
    assert codes.latents.shape == x.shape
    (codes.latents.sum() + sum(codes.losses.values())).backward()
    assert x.grad.abs().max() > 0


def test_lookup_gives_what_the_decoder_saw_and_evaluation_changes_nothing(quantizer):
    quantizer(latents(2, 6, 4, 4))
    quantizer.eval()
    before = copy.deepcopy(quantizer.state_dict())
    codes = quantizer(latents(2, 6, 4, 4, seed=1))
    assert not codes.losses
    torch.testing.assert_close(quantizer.lookup(codes.indices), codes.latents)
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_evaluation_before_training_does_not_start_the_codebook():
    quantizer = VectorQuantizer(6, 16).eval()
    codes = quantizer(latents(2, 6, 4, 4))
    assert not quantizer.started
    assert len(codes.indices.unique()) > 1


def test_quantisation_stays_in_float32_under_autocast(quantizer):
    x = latents(2, 6, 4, 4)
    quantizer(x)
    quantizer.eval()
    expected = quantizer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = quantizer(x)
    assert torch.equal(codes.indices, expected.indices)
    assert torch.equal(codes.latents, expected.latents)


def test_latents_of_a_wrong_width_are_named(quantizer):
    with pytest.raises(UserError, match=r"\[B, 6, h, w\].*6 output channels"):
        quantizer(latents(2, 5, 4, 4))


def test_ids_of_another_tokenizer_are_named(quantizer):
    with pytest.raises(UserError, match="another tokenizer"):
        quantizer.lookup(torch.full((1, 2, 2), quantizer.codebook_size))
    with pytest.raises(UserError, match="another tokenizer"):
        quantizer.lookup(torch.full((1, 2, 2), -1))
    with pytest.raises(UserError, match="integers"):
        quantizer.lookup(torch.zeros(1, 2, 2))


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda: VectorQuantizer(6, 1), "at least 2 codes"),
        (lambda: VectorQuantizer(0, 8), "at least 1"),
        (lambda: VectorQuantizer(6, 8, decay=1.0), "0.99 is usual"),
        (lambda: LookupFreeQuantizer(256), "1 to 24 bits"),
        (lambda: BinarySphericalQuantizer(6, 0), "1 to 24 bits"),
        (lambda: ResidualQuantizer(6, 1024, 4), "2 levels of 1024"),
        (lambda: ResidualQuantizer(6, 8, 0), "at least 1 level"),
    ],
)
def test_sizes_that_cannot_be_name_the_fix(make, fix):
    with pytest.raises(UserError, match=fix):
        make()


def test_fsq_refuses_two_levels():
    with pytest.raises(UserError, match="at least 3"):
        FiniteScalarQuantizer((4, 2))


@pytest.mark.parametrize("cosine", [False, True])
def test_training_resumes_exactly_from_safetensors(tmp_path, cosine):
    def run(quantizer, steps):
        for step in steps:
            quantizer(latents(2, 6, 4, 4, seed=step))

    torch.manual_seed(0)
    whole = VectorQuantizer(6, 16, cosine=cosine, revive_below=1.0)
    part = copy.deepcopy(whole)
    run(whole, range(6))
    run(part, range(3))
    save_file(part.state_dict(), tmp_path / "vq.safetensors")
    torch.manual_seed(1)
    resumed = VectorQuantizer(6, 16, cosine=cosine, revive_below=1.0)
    resumed.load_state_dict(load_file(tmp_path / "vq.safetensors"))
    assert resumed.started
    # Neither the state nor the use of torch's global generator may matter.
    run(resumed, range(3, 6))
    assert int(whole.choices) > 1, "no code was revived, so this shows nothing"
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_copies_draw_for_themselves():
    quantizer = VectorQuantizer(6, 16)
    near_duplicate = copy.deepcopy(quantizer)
    near_duplicate(latents(2, 6, 4, 4))
    assert int(quantizer.choices) == 0
    assert int(near_duplicate.choices) > 0


def test_a_revived_code_takes_its_statistics_along():
    quantizer = VectorQuantizer(2, 4, kmeans=False, decay=0.5, revive_below=1.0)
    codebook = quantizer.vq._codebook
    x = latents(1, 2, 4, 4)
    far = torch.tensor([1e3, 1e3])
    codebook.embed[0, 3] = far
    codebook.embed_avg[0, 3] = far
    codebook.cluster_size[0, 3] = 0.5
    quantizer(x)
    revived = codebook.embed[0, 3].clone()
    rows = x.flatten(2)[0].T
    assert (rows - revived).norm(dim=1).min() < 1e-6, "the dead code must lie on a latent"
    assert codebook.cluster_size[0, 3] == 1.0
    torch.testing.assert_close(codebook.embed_avg[0, 3], revived)
    # One more step moves it towards its latents, not back to where the old sum pointed.
    quantizer(x)
    assert (codebook.embed[0, 3] - revived).norm() < 3


def test_entropy_term_sharpens_positions_and_spreads_codes():
    torch.manual_seed(0)
    quantizer = LookupFreeQuantizer(3, commitment=0.0, entropy=1.0, inverse_temperature=1.0)
    x = (0.2 * latents(4, 3, 4, 4) + 0.5).requires_grad_()

    def entropies():
        rows = x.detach().flatten(2).transpose(1, 2)
        return quantizer.entropies(torch.nn.functional.rms_norm(rows, (3,)))

    before = entropies()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        quantizer(x).losses["entropy"].backward()
        optimizer.step()
    after = entropies()
    assert after.codebook > before.codebook + 0.1
    assert after.sample < before.sample


@pytest.mark.parametrize("little_endian", [False, True])
def test_channels_are_bits_in_the_order_asked_for(little_endian):
    quantizer = LookupFreeQuantizer(4, little_endian=little_endian)
    code = torch.tensor([1.0, -1.0, -1.0, -1.0])[None, :, None, None]
    assert int(quantizer.eval()(code).indices) == (1 if little_endian else 8)
    torch.testing.assert_close(quantizer.lookup(torch.tensor([[[1 if little_endian else 8]]])), code)


def test_files_of_the_librarys_layer_fit():
    from vector_quantize_pytorch import LFQ

    quantizer, library = LookupFreeQuantizer(5, normalise=False), LFQ(dim=5, channel_first=True)
    quantizer.lfq.load_state_dict(library.state_dict())
    x = latents(2, 5, 4, 4)
    expected, indices, _ = library.eval()(x)
    codes = quantizer.eval()(x)
    assert torch.equal(codes.indices, indices) and torch.equal(codes.latents, expected)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (8, 8, 6, 5), (3, 4)])
def test_fsq_lookup_is_the_librarys(levels: tuple[int, ...]) -> None:
    from vector_quantize_pytorch import FSQ

    quantizer = FiniteScalarQuantizer(levels)
    indices = torch.arange(quantizer.codebook_size).view(1, 1, -1)
    expected = FSQ(list(levels)).indices_to_codes(indices.flatten(1)).transpose(1, 2).unsqueeze(2)
    torch.testing.assert_close(quantizer.lookup(indices), expected)
