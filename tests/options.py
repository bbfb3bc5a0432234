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
    parser.addoption(
        "--require-services",
        action="store_true",
        help="fail, instead of skipping, where a service that tests need (such as Orthanc) is not installed",
    )
    parser.addoption(
        "--fuzz-seconds",
        metavar="SECONDS",
        type=int,
        default=20,
        help="how long test_fuzz.py sends generated requests to a server; 180 is thorough",
    )
    parser.addoption(
        "--fuzz-files",
        metavar="COUNT",
        type=int,
        default=100,
        help="how many damaged files test_damaged_files.py reads; 1000 is thorough",
    )


def missing_service(config: pytest.Config, reason: str) -> None:
    """End a test that needs a service which this machine does not have."""
    if config.getoption("--require-services"):
        pytest.fail(reason)
    pytest.skip(reason)
