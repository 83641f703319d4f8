"""Fixtures of the tests of losses."""

import jaxtyping
import pytest


@pytest.fixture
def no_type_hook():
    """Calls as users make them: our own messages, not those of the type hook."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
