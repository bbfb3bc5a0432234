"""The state of one pool of images: files, database, datastore."""
