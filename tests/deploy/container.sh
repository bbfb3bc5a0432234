#!/bin/sh
# Build the image on a base from debootstrap, start the server in it as its user, and ask it for an image.
#
# `make test-container` runs it, as root, with buildah and debootstrap. It takes half an hour and 15 GB in FOLDER, and is
# quick again as long as that stays. PIP_INDEX_URL, PIP_FIND_LINKS (a folder) and PIP_CERT reach pip in the image.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/.venv/bin/python
folder=${FOLDER:-/var/tmp/scan-selection-container}
port=${PORT:-8765}
export TMPDIR="$folder/tmp"
mkdir -p "$TMPDIR"

images() { buildah --root "$folder/storage" --runroot "$folder/run" "$@"; }

if ! images inspect --type image localhost/debian:12 > /dev/null 2>&1; then
	debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/base"
	container=$(images from scratch)
	images add --quiet "$container" "$folder/base" /
	images commit --quiet --rm "$container" localhost/debian:12
fi

set -- --build-arg BASE=localhost/debian:12
[ -z "${PIP_INDEX_URL:-}" ] || set -- "$@" --build-arg "PIP_INDEX_URL=$PIP_INDEX_URL"
[ -z "${PIP_FIND_LINKS:-}" ] || set -- "$@" --build-arg PIP_FIND_LINKS=/wheels --volume "$PIP_FIND_LINKS:/wheels:ro"
[ -z "${PIP_CERT:-}" ] || set -- "$@" --build-arg PIP_CERT=/host-ca.crt --volume "$PIP_CERT:/host-ca.crt:ro"
cd "$root"
images build --isolation chroot --network host --format docker --layers --file deploy/Containerfile \
	--tag scan-selection "$@" .

"$python" -m benchmarks.phantoms --count 12 --size 64 --out "$folder/sample"
chown -R 10001 "$folder/sample"
container=$(images from --isolation chroot localhost/scan-selection)
run() { images run --isolation chroot --network host --env PORT="$port" --env HOST=127.0.0.1 "$@"; }
# not by the functions, whose shell would be what is ended
buildah --root "$folder/storage" --runroot "$folder/run" run --isolation chroot --network host --env PORT="$port" \
	--env HOST=127.0.0.1 --volume "$folder/sample/studies:/studies" "$container" -- \
	/opt/scan-selection/deploy/serve.sh &
server=$!
trap 'kill $server; wait $server || true; images rm "$container" > /dev/null' EXIT

tries=0
until PORT=$port "$python" deploy/health.py; do
	kill -0 $server
	tries=$((tries + 1))
	[ $tries -lt 100 ]
	sleep 3
done
run "$container" -- /opt/scan-selection/.venv/bin/python /opt/scan-selection/deploy/health.py
[ "$(run "$container" -- id --user)" = 10001 ]
"$python" - "http://127.0.0.1:$port/activelearning/auto" <<'PYTHON'
import sys

import requests

answer = requests.post(sys.argv[1], json={}, timeout=60).json()
assert answer["path"] == f"/studies/{answer['id']}.png", answer
print(f"The server in the container hands out {answer['id']}: {answer['selection']['reason']}")
PYTHON
