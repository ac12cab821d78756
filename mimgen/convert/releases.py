"""The official releases that can be converted."""

from __future__ import annotations

from mimgen.convert.release import Release

__all__ = ["releases"]


def releases() -> dict[str, Release]:
    """Every release by its name, in the order in which they are listed."""
    # Imported here because each brings the classes that it fills.
    from mimgen.convert import (
        a2mim,
        beitv2_tokenizer,
        cae,
        croco,
        dmjd,
        hap,
        hiendmae,
        hpm,
        ibot,
        itpn,
        itpn_clip,
        kl16,
        latentmim,
        llamagen,
        localmim,
        lut,
        mae,
        mage,
        maskgit,
        meissonic,
        mergevq,
        mff,
        open_magvit2,
        satvision,
        selectivemae,
        titok,
        titok_maskgit,
    )

    modules = (
        meissonic, open_magvit2, mergevq, llamagen, titok, beitv2_tokenizer, kl16, mae, ibot, hpm,
        lut, cae, localmim, mff, dmjd, croco, selectivemae, latentmim, itpn, itpn_clip, hiendmae,
        a2mim, satvision, hap,
        maskgit, mage, titok_maskgit,
    )  # fmt: skip
    return {module.RELEASE.name: module.RELEASE for module in modules}
