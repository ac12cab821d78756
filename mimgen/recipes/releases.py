"""The official releases that can be converted."""

from __future__ import annotations

from mimgen.checkpoints.release import StateDictAdapter

__all__ = ["releases"]


def releases() -> dict[str, StateDictAdapter]:
    """Every release by its name, in the order in which they are listed."""
    # Imported here because each brings the classes that it fills.
    from mimgen.generators.mage import adapter as mage
    from mimgen.generators.maskgit import adapter as maskgit
    from mimgen.generators.meissonic import adapter as meissonic
    from mimgen.generators.titok_maskgit import adapter as titok_maskgit
    from mimgen.methods.a2mim import adapter as a2mim
    from mimgen.methods.cae import adapter as cae
    from mimgen.methods.croco import adapter as croco
    from mimgen.methods.dmjd import adapter as dmjd
    from mimgen.methods.hap import adapter as hap
    from mimgen.methods.hiendmae import adapter as hiendmae
    from mimgen.methods.hpm import adapter as hpm
    from mimgen.methods.ibot import adapter as ibot
    from mimgen.methods.itpn import adapter as itpn
    from mimgen.methods.itpn import adapter_clip as itpn_clip
    from mimgen.methods.latentmim import adapter as latentmim
    from mimgen.methods.localmim import adapter as localmim
    from mimgen.methods.lut import adapter as lut
    from mimgen.methods.mae import adapter as mae
    from mimgen.methods.mff import adapter as mff
    from mimgen.methods.satvision_toa import adapter as satvision
    from mimgen.methods.selectivemae import adapter as selectivemae
    from mimgen.tokenizers import kl16
    from mimgen.tokenizers.llamagen import adapter as llamagen
    from mimgen.tokenizers.magvit2 import adapter as open_magvit2
    from mimgen.tokenizers.mergevq import adapter as mergevq
    from mimgen.tokenizers.titok import adapter as titok
    from mimgen.tokenizers.vqkd import adapter as beitv2_tokenizer

    modules = (
        meissonic, open_magvit2, mergevq, llamagen, titok, beitv2_tokenizer, kl16, mae, ibot, hpm,
        lut, cae, localmim, mff, dmjd, croco, selectivemae, latentmim, itpn, itpn_clip, hiendmae,
        a2mim, satvision, hap,
        maskgit, mage, titok_maskgit,
    )  # fmt: skip
    return {module.ADAPTER.name: module.ADAPTER for module in modules}
