"""Options of the tests. A plugin (`-p` in setup.cfg), since pytest reads a conftest.py too late for them:
in `pytest -c setup.cfg --real-data DIR` it would look for one in DIR, not in tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-data",
        metavar="DIR",
        help="folder with montgomery/images and montgomery/labels, and weights/ beside it: "
        "tests on real images and weights run only with it",
    )
