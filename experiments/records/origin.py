"""What is known of a prepared data set by its fingerprint: whether it is the official archive."""

# Fingerprints (`Arrays.fingerprint`) of what torchvision makes of the official archives. That of
# CIFAR-10 is not known here: the archive was never at hand.
OFFICIAL = {"cifar100": "b30be469dc7c1349"}

# Copies that are known to be no official archive, and how they differ.
COPIES = {
    "4db441c3e4de56a6": (
        "a copy of CIFAR-10 that is NOT the official archive: 108 of its 60,000 images (85 "
        "training, 23 test) were decoded from JPEG of quality 75, all others are exact"
    )
}


def origin(dataset: str, fingerprint: str) -> str:
    """What the images with this fingerprint are, as the end of a sentence."""
    if dataset == "synthetic":
        return "textures that were made here, not photographs"
    if fingerprint in COPIES:
        return COPIES[fingerprint]
    if dataset not in OFFICIAL:
        return "NOT checked against the official archive, whose fingerprint is not known here"
    if fingerprint == OFFICIAL[dataset]:
        return "the images of the official archive, as torchvision's checksums know it"
    return f"NOT the images of the official archive, whose fingerprint is {OFFICIAL[dataset]}"
