"""Rule files: eta as safetensors, with a JSON header of architecture and provenance.

The format holds plain arrays, never pickles. Loading checks everything before it believes
anything, and says in one sentence what is wrong.
"""

import hashlib
import json
import os
import secrets
import stat
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

FORMAT = "lpg-rule"
VERSION = "1"
MAX_BYTES = 256 * 2**20  # the published rule has 1.1 MB
MAX_HEADER = 2**20  # bytes; a rule's has a few thousand


class RuleFileError(ValueError):
    """A rule file that cannot be used; the message names cause and remedy."""


class RuleFile(NamedTuple):
    """The contents of a rule file, checked; lpg/files/loading.py makes a rule of them."""

    params: dict[str, Any]  # eta, nested as the rule's `init` returns it; float32 NumPy arrays
    architecture: dict[str, Any]  # what `LPG.from_architecture` takes
    provenance: dict[str, Any]  # where the rule comes from


def save_rule(
    path: str | Path,
    params: Any,
    architecture: dict[str, Any],
    provenance: dict[str, Any],
) -> None:
    """Write a rule file atomically; the same arguments give the same bytes.

    Raises OSError where the disk refuses; an older file then stays as it was.
    """
    tensors = {name: np.asarray(x, order="C") for name, x in sorted(_flatten(params).items())}
    _check_tensors(tensors, str(path))
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        "architecture": json.dumps(architecture, sort_keys=True),
        "provenance": json.dumps(provenance, sort_keys=True),
    }
    metadata["sha256"] = _digest(tensors, metadata)
    write_atomically(Path(path), _canonical(save(tensors, metadata=metadata)))


def load_rule(path_or_name: str | Path) -> RuleFile:
    """Read a rule from a file, or a shipped one by its name (such as 'lpg-15').

    Raises RuleFileError for anything that is not an intact rule file.
    """
    path = _resolve(str(path_or_name))
    data = _read(path)
    try:
        _refuse_large_header(data)
        metadata = _object(_object(_header(data)).get("__metadata__", {}))
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RuleFileError(
            f"{path} is damaged or not a safetensors file; take an intact copy of the rule."
        ) from error
    if metadata.get("format") != FORMAT:
        raise RuleFileError(
            f"{path} is a safetensors file but not a rule; give a file that metatrain wrote."
        )
    if metadata.get("format_version") != VERSION:
        raise RuleFileError(
            f"{path} has rule format version {metadata.get('format_version')!r}, this program "
            f"reads {VERSION!r}; use the version of the program that wrote it."
        )
    if metadata.get("sha256") != _digest(tensors, metadata):
        raise RuleFileError(
            f"{path} does not match its checksum, so it was damaged; take an intact copy."
        )
    _check_tensors(tensors, str(path))
    try:
        architecture, provenance = (_object(metadata[k]) for k in ("architecture", "provenance"))
        return RuleFile(_unflatten(tensors), architecture, provenance)
    except (ValueError, KeyError, TypeError) as error:
        raise RuleFileError(
            f"{path} is a safetensors file but no rule's ({error}); give a file that metatrain "
            "wrote."
        ) from error


def shipped_rules() -> tuple[str, ...]:
    """Names of the rules inside the package."""
    files = resources.files("lpg.shipped").iterdir()
    suffix = ".safetensors"
    return tuple(sorted(f.name[: -len(suffix)] for f in files if f.name.endswith(suffix)))


def digest(rule: RuleFile) -> str:
    """SHA-256 of a rule's tensors, in the order of their names."""
    sha = hashlib.sha256()
    for _, x in sorted(_flatten(rule.params).items()):
        sha.update(np.ascontiguousarray(x).tobytes())
    return sha.hexdigest()


def hexdigest_of(tensors: dict[str, np.ndarray], sha: Any) -> str:
    """Of what `sha`, of hashlib, has been told, then of names, dtypes, shapes and numbers."""
    for name, x in sorted(tensors.items()):
        sha.update(f"{name} {x.dtype} {x.shape}\n".encode())
        sha.update(np.ascontiguousarray(x).tobytes())
    return sha.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """All of `data` or the file as it was: a temporary file beside it takes its place."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:  # unlike tempfile's, with the modes that umask leaves
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _canonical(data: bytes) -> bytes:
    """safetensors orders metadata by hash; sort it, so that equal rules are equal files."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(_header(data), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _refuse_large_header(data: bytes) -> None:
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER:  # before anything of it is parsed
        raise ValueError(f"a header of {size:,} bytes")


def _header(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])


def _object(x: Any) -> dict[str, Any]:
    """A JSON object, of its text where that is given."""
    found = json.loads(x) if isinstance(x, str) else x
    if not isinstance(found, dict):
        raise ValueError(f"{x!r:.40} is no JSON object")
    return found


def _resolve(path_or_name: str) -> Path:
    path = Path(path_or_name)
    if path.suffix or os.path.isfile(path) or len(path.parts) != 1:
        return path
    if path_or_name not in shipped_rules():
        raise RuleFileError(
            f"No rule named {path_or_name!r} is shipped; known are {', '.join(shipped_rules())}, "
            "or give the path of a .safetensors file."
        )
    with resources.as_file(resources.files("lpg.shipped") / f"{path_or_name}.safetensors") as file:
        return file


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise RuleFileError(
            f"Cannot read the rule file {path} ({error.strerror}); check the path."
        ) from error
    except ValueError as error:  # a NUL or half a character in the path
        raise RuleFileError(f"Cannot read the rule file {str(path)!r} ({error}).") from error
    what = f"has {status.st_size:,} bytes, more than the {MAX_BYTES:,} of any rule"
    if not stat.S_ISREG(status.st_mode):
        what = "is no regular file"
    raise RuleFileError(f"{path} {what}; give a file that metatrain wrote.")


def _check_tensors(tensors: dict[str, np.ndarray], where: str) -> None:
    for name, x in tensors.items():
        if x.dtype != np.float32:
            raise RuleFileError(
                f"{where}: tensor {name} is {x.dtype}, a rule's are float32; export it anew."
            )
        if not np.isfinite(x).all():
            raise RuleFileError(
                f"{where}: tensor {name} holds numbers that are not finite; the training that "
                "made it diverged, use an earlier checkpoint's rule."
            )


def _digest(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    sha = hashlib.sha256()
    for key in ("format", "format_version", "architecture", "provenance"):
        sha.update(f"{key}={metadata.get(key)}\n".encode())
    return hexdigest_of(tensors, sha)


def _flatten(params: Any, prefix: str = "") -> dict[str, np.ndarray]:
    if not isinstance(params, dict):
        return {prefix: np.asarray(params)}
    flat: dict[str, np.ndarray] = {}
    for key, value in params.items():
        flat.update(_flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _unflatten(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, x in tensors.items():
        *parents, leaf = name.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        if not isinstance(node, dict) or leaf in node:
            raise ValueError(f"{name} is a tensor and holds others")
        node[leaf] = x
    return nested
