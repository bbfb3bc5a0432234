"""Activity of clients: a lease lasts as long as its holder works on the image."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from pool.errors import PoolError
from server.desk.readers import client_here

logger = logging.getLogger(__name__)


def works_on(app: Any, image: str, client_id: Any = "") -> None:
    """Renew the lease of an image if the client of the present request holds it.

    Never fails: an image is sent and predicted also while the database is down.

    :param client_id: as the request names its client, if it does
    """
    try:
        app.state.handouts.touch(image, client_here(app, str(client_id or "")), app.context.terms)
    except (SQLAlchemyError, PoolError) as error:
        logger.warning("The lease of %s is not renewed: %s", image, error)
