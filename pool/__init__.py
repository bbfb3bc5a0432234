"""The state of one pool of images: files, database, datastore."""

from pool.aliases import install

install()
