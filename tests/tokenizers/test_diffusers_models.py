import pytest
import torch

from mimgen.errors import UserError
from mimgen.tokenizers.diffusers_models import DiffusersKL, DiffusersVQ
from mimgen.types import SampleRNG

SIZES = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 8),
    "norm_num_groups": 4,
    "latent_channels": 4,
}


@pytest.fixture
def vq():
    from diffusers import VQModel

    torch.manual_seed(0)
    # Meissonic's release sets lookup_from_codebook.
    return DiffusersVQ(VQModel(num_vq_embeddings=16, lookup_from_codebook=True, **SIZES).eval())


@pytest.fixture
def kl():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    return DiffusersKL(AutoencoderKL(**SIZES).eval())


def images():
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))


def test_vq_codes_and_images(vq, tmp_path):
    codes = vq.eval().encode(images())
    assert codes.indices.shape == (2, 8, 12)
    assert (vq.downsample, vq.codebook_size) == (2, 16)
    decoded = vq.decode(codes)
    assert decoded.shape == (2, 3, 16, 24)
    torch.testing.assert_close(vq.decode(codes.indices), decoded)
    pipeline_way = vq.model.decode(codes.indices, force_not_quantize=True, shape=(2, 8, 12, 4)).sample.clamp(
        0, 1
    )
    torch.testing.assert_close(decoded, pipeline_way)
    vq.save_pretrained(tmp_path)
    again = DiffusersVQ.from_pretrained(tmp_path).eval()
    assert torch.equal(again.decode(codes), decoded)


def test_inner_range_is_undone():
    class Identity(torch.nn.Module):
        dtype = torch.float32

    from mimgen.tokenizers.diffusers_models import _Wrapped

    model = Identity()
    model.config = type("Config", (), {"block_out_channels": (1,)})
    wrapped = _Wrapped(model, (-1.0, 1.0))
    assert wrapped._inner(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2))[0, 0, 0].tolist() == [
        -1,
        1,
    ]


def test_kl_latents(kl, tmp_path):
    kl.eval()
    mode = kl.encode(images())
    assert mode.indices is None
    assert mode.latents.shape == (2, 4, 8, 12)
    assert kl.decode(mode).shape == (2, 3, 16, 24)
    sample = kl.encode(images(), SampleRNG([1, 2])).latents
    assert not torch.equal(sample, mode.latents)
    assert torch.equal(sample, kl.encode(images(), SampleRNG([1, 2])).latents)
    assert kl.train().encode(images()).losses["kl"] > 0
    with pytest.raises(UserError, match="no token ids"):
        kl.lookup(torch.zeros(2, 8, 12, dtype=torch.int64))


def test_wrong_folders_are_named(vq, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        DiffusersVQ.from_pretrained(tmp_path / "nowhere")
    vq.save_pretrained(tmp_path / "vq")
    with pytest.raises(UserError, match="holds a VQModel"):
        DiffusersKL.from_pretrained(tmp_path / "vq")
    next((tmp_path / "vq").glob("*.safetensors")).unlink()
    with pytest.raises(UserError, match="no weights"):
        DiffusersVQ.from_pretrained(tmp_path / "vq")


def test_images_that_do_not_divide(vq):
    with pytest.raises(UserError, match="multiples of 2"):
        vq.encode(torch.zeros(1, 3, 15, 16))
