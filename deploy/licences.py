"""List the licences of the server's packages: `make licences`. Exit with 1 when one of them may not be used.

GPL is refused. LGPL is allowed for the packages that are named here, each with its reason. Any other licence
that is not of a permissive family is refused until somebody has looked at it.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.txt")
PERMISSIVE = re.compile(r"MIT|BSD|Apache|ISC\b|PSF|Python Software Foundation|MPL|Mozilla|Dual License")
LGPL = {
    # MONAI Label imports it for whole-slide images if it is there; nothing here calls it or changes it
    "openslide-python",
}


def licence_of(package: PackageMetadata) -> str:
    """Return a package's licence: its SPDX expression, else its classifiers, else its own words."""
    expression = package.get("License-Expression")
    if expression:
        return str(expression)
    classifiers = [text for text in package.get_all("Classifier") or [] if text.startswith("License ::")]
    known = [text.rpartition(" :: ")[2] for text in classifiers]
    return (
        ", ".join(text for text in known if text != "OSI Approved")
        or (package.get("License") or "").split("\n")[0]
    )


def locked() -> list[str]:
    """Return the names of the packages that the server runs on, torch among them."""
    return sorted({*re.findall(r"^([a-z0-9._-]+)==", LOCK.read_text(), re.MULTILINE), "torch"})


def installed() -> Iterator[tuple[str, str, str]]:
    """Yield name, version and licence of each; those that other systems or Pythons need are not there."""
    for name in locked():
        try:
            package = metadata(name)
        except PackageNotFoundError:
            continue
        yield name, package["Version"], licence_of(package)


def allowed(name: str, licence: str) -> bool:
    """Return True when a package of this licence may be used."""
    if "GPL" in licence or "General Public" in licence:
        lesser = licence.replace("LGPL", "").replace("Lesser General Public", "")
        return name in LGPL and "GPL" not in lesser and "General Public" not in lesser
    return bool(PERMISSIVE.search(licence))


def main() -> int:
    """Print the list, then what may not be used."""
    packages = list(installed())
    for name, version, licence in packages:
        print(f"{name:28} {version:16} {licence}")
    refused = [name for name, _, licence in packages if not allowed(name, licence)]
    if refused:
        print(
            f"may not be used, or not looked at: {', '.join(refused)} (deploy/licences.py)", file=sys.stderr
        )
    return bool(refused)


if __name__ == "__main__":
    sys.exit(main())
