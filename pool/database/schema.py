"""Tables of the pool's database.

One database per pool: SQLite (WAL) in the pool's state folder, or PostgreSQL by URL. Revisions live in
`pool/database/migrations`; a new database is created in full and stamped with the newest revision, an older
one is migrated when the server opens it.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import JSON, Boolean, Column, Float, Integer, LargeBinary, MetaData, String, Table

metadata = MetaData()

failures = Table(
    "failures",
    metadata,
    Column("image", String, primary_key=True),
    Column("fingerprint", String, nullable=False),  # retried when the file changes
    Column("reason", String, nullable=False),
)
embeddings = Table(
    "embeddings",
    metadata,
    Column("image", String, primary_key=True),
    Column("encoder", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32
)
layouts = Table(  # one map of the pool: row i of `points` is image i of `images`
    "layouts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String, nullable=False, index=True),  # encoder, projection, perplexity, seed
    Column("images", JSON, nullable=False),
    Column("marks", JSON, nullable=False),  # fingerprint of each image's file when it was mapped
    Column("points", LargeBinary, nullable=False),  # float64
    Column("created", Float, nullable=False),
)
placed = Table(  # images placed on a map after it was laid out; an image's newest row counts
    "placed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("layout", Integer, nullable=False, index=True),
    Column("image", String, nullable=False),
    Column("mark", String, nullable=False),
    Column("point", LargeBinary, nullable=False),  # float64
)
models = Table(
    "models",
    metadata,
    Column("fingerprint", String, primary_key=True),  # sha256 of the published file
    Column("round", Integer, nullable=False),
    Column("labelled", JSON, nullable=False),  # the images it was trained on
    Column("details", JSON, nullable=False),  # configuration, seed, metrics, versions
    Column("created", Float, nullable=False),
)
entropies = Table(
    "entropies",
    metadata,
    Column("model", String, primary_key=True),
    Column("image", String, primary_key=True),
    Column("value", Float, nullable=False),  # mean over pixels, nats
)
measures = Table(  # other scores of an image: foreground, entropies of classes
    "measures",
    metadata,
    Column("source", String, primary_key=True),  # the model, or the rule that needs no model
    Column("kind", String, primary_key=True),
    Column("image", String, primary_key=True),
    Column("value", Float, nullable=False),
)
heads = Table(  # small models fitted after each label
    "heads",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("features", String, nullable=False),  # key of the dense features
    Column("fingerprint", String, nullable=False, unique=True),  # of the labels it knows
    Column("n_labels", Integer, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("facts", JSON, nullable=False),  # labels per structure, cross-validated Dice, seed, seconds
    Column("created", Float, nullable=False),
    sqlite_autoincrement=True,  # numbers are never reused, so that a number names one head for good
)
prints = Table(  # for finding duplicates
    "prints",
    metadata,
    Column("image", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("pixels", String, nullable=False),  # sha256 of the decoded values
    Column("hash", LargeBinary, nullable=False),  # perceptual
    Column("compared", Boolean, nullable=False, index=True),  # with all earlier images
)
copies = Table(
    "copies",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("image", String, nullable=False, unique=True),
    Column("original", String, nullable=False, index=True),  # not a copy itself
    Column("distance", Integer, nullable=False),  # differing bits of the hash
    Column("exact", Boolean, nullable=False),
    sqlite_autoincrement=True,  # ids are never reused, so that the newest one reveals changes
)
plans = Table(
    "plans",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String, nullable=False, index=True),
    Column("kind", String, nullable=False),  # active, or the method's name
    Column("layout", Integer, nullable=False),
    Column("model", String),
    Column("scored", Integer, nullable=False),  # images with an entropy when the plan was made
    Column("picks", JSON, nullable=False),  # [{image, evidence...}] in hand-out order
    Column("details", JSON, nullable=False),  # seed, versions, clusters, silhouettes
    Column("created", Float, nullable=False),
)
handouts = Table(  # an open hand-out (ended is null) is a lease
    "handouts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("image", String, nullable=False, index=True),
    Column("list", String, nullable=False, index=True),  # the plan or ranking it came from
    Column("client", String, nullable=False),
    Column("created", Float, nullable=False),  # this and the next two are on the pool's clock
    Column("expires", Float, nullable=False),
    Column("ended", Float),
    Column("outcome", String),  # labelled, released, skipped, expired, closed (labelled or removed unnoticed)
    Column("selection", JSON, nullable=False),  # details in the answer, so that it can be repeated
)
# two people never hold the same image: the database refuses a second lease
sa.Index(
    "one_open_handout",
    handouts.c.image,
    unique=True,
    sqlite_where=handouts.c.ended.is_(None),
    postgresql_where=handouts.c.ended.is_(None),
)
skips = Table(
    "skips",
    metadata,
    Column("image", String, primary_key=True),
    Column("client", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("created", Float, nullable=False),
)
marks = Table(  # a lead's decisions on single images
    "marks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),  # the order
    Column("image", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),  # next, held_out
    Column("client", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("created", Float, nullable=False),
)
reopened = Table(  # labelled images that are handed out once more, until their next final label
    "reopened",
    metadata,
    Column("image", String, primary_key=True),
    Column("client", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("created", Float, nullable=False),
)
choices = Table(  # settings that a lead changed while the server runs
    "choices",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Float, nullable=False),
    Column("client", String, nullable=False),
    Column("created", Float, nullable=False),
)
validations = Table(  # scores of a model on one held-out image
    "validations",
    metadata,
    Column("model", String, primary_key=True),
    Column("image", String, primary_key=True),
    Column("scores", JSON, nullable=False),  # {dice, hd95, one_empty, present: a number per class}
)
label_checks = Table(  # final labels that were read, whoever put them there
    "label_checks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("image", String, nullable=False, unique=True),
    Column("fingerprint", String, nullable=False),  # of the label's file and its image's
    Column("reason", String, nullable=False),  # why it does not count; empty for a good one
    Column("state", String, nullable=False, server_default=""),  # of pool.label_states
    Column(
        "digest", String, nullable=False, server_default="", index=True
    ),  # of the label on its image's grid
    sqlite_autoincrement=True,  # ids are never reused, so that the newest one reveals changes
)
readers = Table(  # browsers that open the pages; the cookie itself is not kept
    "readers",
    metadata,
    Column("token", String, primary_key=True),  # sha256 of the cookie
    Column("tag", String, nullable=False, unique=True),  # tells browsers without a name apart
    Column("name", String, nullable=False),  # as the person gave it; empty until then
    Column("created", Float, nullable=False),
)
drafts = Table(  # labels being drawn; the mask is a file in the state folder
    "drafts",
    metadata,
    Column("client", String, primary_key=True),
    Column("image", String, primary_key=True),
    Column("file", String, nullable=False),
    Column("size", Integer, nullable=False),  # bytes of the file
    Column("details", JSON, nullable=False),  # the page's own: structures, seconds
    Column("updated", Float, nullable=False),
)
predictions = Table(  # labels that models predicted for clients
    "predictions",
    metadata,
    Column("image", String, primary_key=True),
    Column("digest", String, primary_key=True),  # sha256 of the label on the image's grid
    Column("model", String, nullable=False),
    Column("created", Float, nullable=False),
)
clock = Table(  # one row: the pool's time, which never runs backwards; its lock orders all writers
    "clock",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("now", Float, nullable=False),
)
identity = Table(  # one row: which pool this is, also in its copies and restored backups
    "identity",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("pool", String, nullable=False),  # random
)
ledger = Table(  # append-only
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("created", Float, nullable=False),
    Column("event", String, nullable=False),
    Column("image", String, index=True),
    Column("details", JSON, nullable=False),
)
trainings = Table(
    "trainings",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("request", JSON, nullable=False),
    Column("labelled", Integer, nullable=False),  # final labels when it started
    Column("running", Boolean, nullable=False),
    Column("outcome", String),
    Column("created", Float, nullable=False),
)
progress = Table(  # one row: the state of the running refresh
    "progress",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("step", String, nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("started", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Column("error", String),
)
