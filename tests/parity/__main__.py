"""`python -m tests.parity PATH...`: replay recorded cases of official implementations.

Intel's MKL, which computes PyTorch's exponentials, rounds the last bit differently on each generation of processors.
Meissonic multiplies sinusoid frequencies by timesteps of up to 1e6, so that one bit of a frequency moves its logits by
1e-3, for the official code as well. MKL's reproducible mode gives one rounding everywhere, that of the recordings.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mimgen.errors import UserError


def run(paths: Sequence[Path]) -> int:
    """Replay case files, and all case files below folders, and print the largest relative errors.

    Args:
        paths: files and folders.

    Returns:
        Exit code: 0 if every system is known and every output is within its tolerance, else 1.

    Raises:
        UserError: no path, a missing path, or a folder without cases.
    """
    files = _files(paths)
    passed = [_replay_file(file) for file in files]
    print(f"{sum(passed)} of {len(files)} cases agree")
    return 0 if all(passed) else 1


def _files(paths: Sequence[Path]) -> list[Path]:
    if not paths:
        raise UserError(
            "no case given; name .safetensors case files or folders: python -m tests.parity PATH..."
        )
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist; name .safetensors case files or folders")
        found = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
        if not found:
            raise UserError(f"no .safetensors file below {path}; name a folder that holds cases")
        files += found
    return files


def _replay_file(file: Path) -> bool:
    """Replay and print one file; whatever goes wrong in it is this file's failure, and the rest resumes."""
    from tests.parity import load_case, replay

    try:
        case = load_case(file)
        comparisons = replay(case)
    except UserError as error:
        print(f"FAILED  {file}\n    {error}")
        return False
    except Exception as error:
        print(f"FAILED  {file}\n    no output could be produced: {type(error).__name__}: {error}")
        return False
    passed = all(comparison.ok for comparison in comparisons)
    print(f"{'ok' if passed else 'FAILED':6}  {case.system}  {file}  (tolerance {case.tolerance:g})")
    for comparison in comparisons:
        print(f"    {'ok' if comparison.ok else 'FAILED':6}  {comparison.error:9.2e}  {comparison.name}")
    return passed


def main(arguments: Sequence[str]) -> int:
    """Entry point; an exit code of 2 says that the paths themselves were wrong."""
    # before the first call of MKL, which reads it once; a process that has called it keeps the processor's rounding
    os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
    try:
        return run([Path(argument) for argument in arguments])
    except UserError as error:
        print(f"tests.parity: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
