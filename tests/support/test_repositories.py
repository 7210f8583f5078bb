"""What the tests build is what the real Butler reads back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from lsst.daf.butler import CollectionType, DatasetExistence
from lsst.daf.butler.datastore import DatasetRefURIs

from tests.support.generated import Run, Spec, Type, specs
from tests.support.repositories import Dialect, Layout, RealRepository, Repositories


def test_ci_hsc_holds_what_its_description_says(ci_hsc: RealRepository) -> None:
    butler = ci_hsc.butler
    assert len(butler.query_datasets("calexp", collections="HSC/runs/ci_hsc/20240806T180642Z")) == 33
    assert len(butler.query_dimension_records("visit", instrument="HSC")) == 11
    assert len(butler.query_dimension_records("detector", instrument="HSC")) == 16


def test_copy_leaves_the_original_alone(
    ci_hsc: RealRepository, fresh: Callable[[RealRepository], RealRepository]
) -> None:
    copy = fresh(ci_hsc)
    copy.open(writeable=True).collections.register("new")
    assert "new" in copy.butler.collections.query("*")
    assert "new" not in ci_hsc.butler.collections.query("*")
    assert "new" not in fresh(ci_hsc).butler.collections.query("*")


def test_rich_holds_files_in_every_state(rich_in_every_layout: RealRepository) -> None:
    butler = rich_in_every_layout.butler
    existence: Counter[DatasetExistence] = Counter()
    for run in butler.collections.query("*", collection_types=CollectionType.RUN):
        existence.update(butler.exists(ref) for ref in butler.query_all_datasets(run, limit=None))
    assert existence[DatasetExistence.VERIFIED] > 40
    assert existence[DatasetExistence.RECORDED] > 10
    assert existence[DatasetExistence.RECORDED | DatasetExistence.DATASTORE] == 1


def test_rich_holds_every_kind_of_uri(rich_in_every_layout: RealRepository) -> None:
    butler = rich_in_every_layout.butler

    def uris(dataset_type: str, collection: str, **data_id: int) -> DatasetRefURIs:
        return butler.getURIs(dataset_type, instrument="HSC", **data_id, collections=collection)

    external, _ = uris("raw", "HSC/raw/all", exposure=101, detector=0)
    assert external is not None
    assert str(external).endswith("/no%20t%C3%A9%2B0%20100%25.yaml")
    zipped, _ = uris("raw", "zip", exposure=105, detector=0)
    assert zipped is not None
    assert "zip-path=" in zipped.fragment
    shared = {uris("raw", "HSC/raw/all", exposure=102, detector=n)[0] for n in range(3)}
    assert len(shared) == 1
    whole, components = uris("packed", "u/alice/run1", visit=101)
    assert (whole is None, len(components)) == (False, 0)
    whole, components = uris("split", "u/alice/run1", visit=101)
    assert (whole is None, sorted(components)) == (True, ["data", "output", "summary"])
    places = [uris("both", "u/alice/run1", visit=visit)[0] for visit in (101, 102, 104)]
    assert [f"FileDatastore_{n}" in str(place) for n, place in zip((0, 1, 1), places, strict=True)] == [True] * 3


def test_rich_holds_every_kind_of_collection(rich_in_every_layout: RealRepository) -> None:
    butler = rich_in_every_layout.butler
    assert {info.type for info in butler.collections.query_info("*")} == set(CollectionType)
    outer = butler.collections.query("chain/outer", flatten_chains=True)
    assert list(outer) == ["tag/best", "u/alice/run2", "u/alice/run1", "HSC/calib"]
    assert butler.collections.get_info("chain/odd positions").children == (
        *("u/žofie/běh č. 1", "u/alice/run2", "u/alice/run1", "HSC/raw/all", "u/bob/emptied"),
    )
    emptied = butler.collections.get_info("u/bob/emptied", include_summary=True)
    assert emptied.dataset_types == {"calexp", "config"}
    assert butler.query_all_datasets("u/bob/emptied") == []
    twice = butler.registry.queryDatasetAssociations("bias", "HSC/calib")
    assert max(Counter(association.ref.id for association in twice).values()) == 2


def test_every_universe_can_be_filled(every_universe: RealRepository) -> None:
    butler = every_universe.butler
    assert butler.dimensions.version == every_universe.layout.universe
    for element in butler.dimensions.elements:
        if element.name not in butler.dimensions.skypix_dimensions:
            assert len(butler.query_dimension_records(element.name)) == 2
    assert len(butler.query_all_datasets("run")) > 2 * len(butler.dimensions.governor_dimensions)


@settings(max_examples=5)
@given(spec=specs())
def test_whatever_is_drawn_can_be_built(repositories: Repositories, dialect: Dialect, spec: Spec) -> None:
    butler = repositories.shared(spec.content, Layout(dialect)).butler
    names = {named.name for named in (*spec.runs, *spec.tags, *spec.calibrations, *spec.chains)}
    assert set(butler.collections.query("*")) == names
    found = [ref for run in spec.runs for ref in butler.query_all_datasets(run.name, limit=None)]
    assert {ref.datasetType.name for ref in found} <= {wanted.name for wanted in spec.types}
    assert len(found) <= sum(len(run.datasets) for run in spec.runs)


def test_the_same_spec_gives_the_same_datasets(repositories: Repositories, dialect: Dialect) -> None:
    type_, run = Type("a", ("instrument", "visit"), is_calibration=False), Run("run", ((0, 0), (0, 1)), 0, None)
    content = Spec((type_,), (run,), (), (), ()).content
    ids = []
    for _ in range(2):
        with repositories.private(content, Layout(dialect)) as repository:
            ids.append({ref.id for ref in repository.butler.query_datasets("a", collections="run")})
    assert len(ids[0]) == 2
    assert ids[0] == ids[1]
