"""Programs that measure the project and drive it as an annotator would."""

from pool.aliases import install

install()
