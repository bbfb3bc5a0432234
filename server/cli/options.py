"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

App = Annotated[Path, typer.Option("--app", help="Folder of the app, such as apps/cxr_lungs.")]
Studies = Annotated[str, typer.Option(help="The studies folder or DICOMweb URL, the same as the server's.")]
Conf = Annotated[list[str] | None, typer.Option(help="The server's settings, as KEY=VALUE; may be repeated.")]
Images = Annotated[list[str], typer.Argument(help="Ids of images.")]
Reason = Annotated[str, typer.Option(help="Why; recorded in the ledger.")]
Who = Annotated[str, typer.Option("--as", help="Who decides; recorded in the ledger.")]
