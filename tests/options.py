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
        "--long",
        action="store_true",
        help="the long form: whole sizes, numbers and examples, and each server started as a command",
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
        help="how long test_fuzz.py sends generated requests to a server: 10 by default, 60 with --long",
    )


def missing_service(config: pytest.Config, reason: str) -> None:
    """End a test that needs a service which this machine does not have."""
    if config.getoption("--require-services"):
        pytest.fail(reason)
    pytest.skip(reason)
