#!/bin/sh
# Start the server of a container or a service. Its settings are environment variables (deploy/settings.env).
set -eu
home=$(cd "$(dirname "$0")/.." && pwd)
: "${STUDIES:?is the folder of the images, or the address of a DICOMweb server}" "${STATE:?is the folder of the state}"
app=$STATE/apps/${APP:=cxr_lungs}   # MONAI Label writes logs into the app's folder, so it gets one that it may write
mkdir -p "$app"
cp "$home/apps/$APP/main.py" "$app/main.py"
# shellcheck disable=SC2086  # CONF is several words
exec "$home/.venv/bin/python" -m monailabel.main start_server --app "$app" --studies "$STUDIES" \
	--host "${HOST:-127.0.0.1}" --port "${PORT:-8000}" --conf state "$STATE/pool" ${CONF:-}
