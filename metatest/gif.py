"""GIFs that say what they show, so that one of another agent is not taken for it."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from lpg.files.storage import write_atomically


def write_gif(path: Path, screens: Sequence[np.ndarray], milliseconds: int, shows: str) -> None:
    """Screens, grey [H, W] or coloured [H, W, 3], each for so long, over and over.

    Args:
        shows: what is shown; `is_of` asks for it.
    """
    first, *others = (Image.fromarray(screen) for screen in screens)
    data = BytesIO()
    first.save(
        data,
        "GIF",
        save_all=True,
        append_images=others,
        duration=milliseconds,
        loop=0,
        optimize=True,
        comment=shows.encode(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data.getvalue())


def is_of(path: Path, shows: str) -> bool:
    """Whether an intact GIF of just that is at `path`."""
    try:
        with Image.open(path) as image:
            return image.info.get("comment") == shows.encode()
    except OSError:
        return False
