"""Binary spherical quantisation."""

from __future__ import annotations

from mimgen.tokenizers.quantizers.lookup_free import LookupFreeQuantizer


class BinarySphericalQuantizer(LookupFreeQuantizer):
    """Signs on the unit sphere (BSQ, Zhao et al., 2024, arXiv 2406.07548): codes are +-1 / sqrt(bits).

    LFQ whose latents have length 1, so that the quantisation error is bounded (equation 7) and
    the distance to a code says the same at every scale of the encoder. The paper splits the bits
    into groups to make the entropy of the codebook affordable; here it is exact.

    Args:
        dim: width D of the latents.
        bits: number of channels that become bits, K = 2^bits; `dim` when None. The paper uses 18
            and 36; ids here have at most 24.
        commitment: weight of mean (latent - code)^2, small here whatever the encoder does.
        entropy: weight of sample entropy - `diversity` * codebook entropy.
        diversity: gamma in the entropy term.
        inverse_temperature: sharpness of the soft assignment in the entropy term.
        little_endian: channel j is bit j of the id; by default channel 0 is the highest bit.

    Raises:
        UserError: for a number of bits outside 1..24.
    """

    def __init__(
        self,
        dim: int,
        bits: int | None = None,
        *,
        commitment: float = 0.25,
        entropy: float = 0.1,
        diversity: float = 1.0,
        inverse_temperature: float = 100.0,
        little_endian: bool = False,
    ) -> None:
        super().__init__(
            dim,
            bits,
            commitment=commitment,
            entropy=entropy,
            diversity=diversity,
            inverse_temperature=inverse_temperature,
            normalise=False,
            spherical=True,
            little_endian=little_endian,
        )
