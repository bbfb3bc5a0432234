"""The journal read again is what was in memory, wherever it ends."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from monailabel.datastore.local import LocalDatastoreModel

from pool.datastore.index import FINAL, Change, DatastoreIndex, apply
from pool.datastore.journal import Journal, read_journal

IMAGES, TAGS = st.sampled_from(["a", "b", "ä\n", 'c"']), st.sampled_from(["final", "draft"])
EXTS = st.sampled_from([".png", ".nii.gz"])
INFOS = st.dictionaries(
    st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=2
)
CHANGES = st.one_of(
    st.builds(Change, image=IMAGES, ext=EXTS, info=INFOS),
    st.builds(Change, image=IMAGES, tag=TAGS, ext=EXTS, info=INFOS),
    st.builds(Change, image=IMAGES, gone=st.just(True)),
    st.builds(Change, image=IMAGES, tag=TAGS, gone=st.just(True)),
    st.builds(Change, name=st.text(max_size=4)),
    st.builds(Change, description=st.text(max_size=4)),
)


def empty() -> LocalDatastoreModel:
    return LocalDatastoreModel(name="", description="")


def replayed(changes: list[Change]) -> LocalDatastoreModel:
    model = empty()
    for change in changes:
        apply(model, change)
    return model


@settings(max_examples=150, deadline=None)
@given(batches=st.lists(st.lists(CHANGES, min_size=1, max_size=4), max_size=6), cut=st.integers(0, 2000))
def test_journal_read_again_is_what_was_in_memory(batches: list[list[Change]], cut: int) -> None:
    contents, done = DatastoreIndex(empty()), []
    with TemporaryDirectory() as folder:
        file = Path(folder) / "journal"
        journal = Journal(file)
        for batch in batches:
            journal.append(batch, "over")
            contents.apply(batch)
            done += batch
        journal.close()
        lines = read_journal(file)
        assert replayed(lines.changes) == contents.model and not lines.damaged
        assert (lines.over, journal.length) == ("over" if done else None, len(done))
        if done:
            file.write_bytes(file.read_bytes()[: -1 - cut % file.stat().st_size])
            assert lines.changes[: len(found := read_journal(file).changes)] == found
            assert len(found) < len(done) and not read_journal(file).damaged


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(CHANGES, max_size=25))
def test_what_is_kept_up_to_date_is_what_counting_again_finds(changes: list[Change]) -> None:
    contents, again = DatastoreIndex(empty()), DatastoreIndex(empty())
    contents.apply(changes)
    for change in changes:
        images, before = again.images, set(again.model.objects)
        again.apply([change])
        assert (again.images is images) == (before == set(again.model.objects))
    objects = contents.model.objects
    assert contents.images == again.images == sorted(objects)
    assert contents.labelled == {i for i, obj in objects.items() if FINAL in obj.labels}
    assert contents.status() == again.status() == DatastoreIndex(contents.model).status()


@settings(max_examples=100, deadline=None)
@given(changes=st.lists(CHANGES, max_size=12))
def test_reading_a_journal_twice_changes_nothing(changes: list[Change]) -> None:
    assert replayed(changes + changes) == replayed(changes)
