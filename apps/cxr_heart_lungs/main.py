"""Chest radiographs: right lung 1, left lung 2, heart 3.

monailabel start_server --app apps/cxr_heart_lungs --studies <folder or DICOMweb URL> --host 127.0.0.1
"""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.app import MONAILabelApp

from server.app import Shell


class CxrHeartLungs(Shell, MONAILabelApp):
    """Selects, segments and learns with `bundle_configs/cxr_heart_lungs`; all parts come from `Shell`."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, Any]) -> None:
        super().__init__(
            app_dir,
            studies,
            conf,
            bundle="cxr_heart_lungs",
            name="Chest X-ray heart and lungs",
            description="Tells which chest radiograph to label next and segments the lungs and the heart",
            version="0.1.0",
        )
