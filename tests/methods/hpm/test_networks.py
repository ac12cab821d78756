"""HPM's decoders: two stacks on one input, the first of which is MAE's."""

import torch

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import mae_vit
from mimgen.masking.random import Random
from mimgen.methods.hpm.networks import LossPredictor
from mimgen.types import Mask, SampleRNG


def parts():
    torch.manual_seed(0)
    return mae_vit(image_size=16, patch=4, width=32, depth=1, heads=2).eval(), LossPredictor(16, 4, 32, 24, 1, 2).eval()


def test_the_first_answer_is_that_of_mae():
    encoder, decoder = parts()
    mae = MaeDecoder(16, 4, 32, 24, 1, 2).eval()
    mae.load_state_dict({name: value for name, value in decoder.state_dict().items() if "losspred" not in name})
    images, mask = torch.rand(2, 3, 16, 16), Random()((4, 4), SampleRNG([0, 1]))
    tokens = encoder(images, mask)
    predicted = decoder.predict(tokens, mask)
    assert torch.equal(predicted.patches, mae(tokens, mask))
    assert torch.equal(predicted.patches, decoder(tokens, mask))
    assert torch.equal(predicted.losses, decoder.predicted_loss(tokens, mask))
    assert predicted.losses.shape == (2, 16)


def test_hardness_of_intact_images_and_saving(tmp_path):
    encoder, decoder = parts()
    images, nothing = torch.rand(2, 3, 16, 16), Mask(torch.zeros(2, 16, dtype=torch.bool))
    predicted_loss = decoder.predicted_loss(encoder(images, nothing), nothing)
    assert predicted_loss.std() > 0
    decoder.save_pretrained(tmp_path)
    again = LossPredictor.from_pretrained(tmp_path)
    assert torch.equal(again.predicted_loss(encoder(images, nothing), nothing), predicted_loss)
