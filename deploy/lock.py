"""Renew the lock: every package at one exact version, with the hashes of its files.

`make lock` runs it, in an environment that has uv. `requirements.txt` is what the server runs on, and
`requirements-test.txt` what tests and linters need besides, both on every Python that setup.cfg names. They
leave out torch, whose builds differ by machine: the Makefile installs its exact version in a step of its own.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
SERVER, TEST = FOLDER / "requirements.txt", FOLDER / "requirements-test.txt"
HEADER = (
    "# Renewed by `make lock`, not by hand. To install: pip install --require-hashes --no-deps -r {name}\n"
)
OLDEST = "3.11"  # the lowest version in setup.cfg


def resolve(*options: str) -> list[str]:
    """Return the locked requirements, each with its lines of hashes, sorted by name.

    Versions in files that exist are kept where they still fit, unless `--upgrade` is given.

    Raises:
        subprocess.CalledProcessError: uv found no versions that fit together; it says why on stderr
    """
    command = ["uv", "pip", "compile", "setup.cfg", "deploy/monailabel.in", "-c", "constraints.txt"]
    command += ["--universal", "--python-version", OLDEST, "--generate-hashes", "--no-emit-package", "torch"]
    command += ["--no-header", "--no-annotate", "--quiet", *options, *sys.argv[1:]]
    text = subprocess.run(command, cwd=FOLDER.parent, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r"^[a-z0-9].*\n(?:    .*\n)*", text, re.MULTILINE)


def constraints(*paths: Path) -> list[str]:
    """Return the options that keep to the versions of these files."""
    return [item for path in paths for item in ("-c", str(path))]


def write(path: Path, requirements: list[str]) -> None:
    """Replace a file of the lock."""
    path.write_text(HEADER.format(name=path.name) + "".join(requirements))
    print(f"{path.relative_to(FOLDER.parent)}: {len(requirements)} requirements")


def main() -> None:
    """Resolve the server with the tests, then the server alone in the same versions."""
    previous = [] if "--upgrade" in sys.argv else [path for path in (SERVER, TEST) if path.exists()]
    together = resolve("--extra", "test", *constraints(*previous))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(together))
        file.flush()
        server = resolve(*constraints(Path(file.name)))
    write(SERVER, server)
    write(TEST, [requirement for requirement in together if requirement not in server])


if __name__ == "__main__":
    main()
