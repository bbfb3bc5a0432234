"""The state of one pool of images: files, database, datastore."""

from pool.aliases import alias

# in people's own bundles stands `_target_: pool.images.ReadImaged`
MOVED = {name: f"imaging.{name}" for name in ("images", "labels", "pairs", "volumes")}
alias(__name__, MOVED)
