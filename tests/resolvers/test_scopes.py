"""What whoever asks may do, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from butlerql.resolvers.service import every_loader
from butlerql.schema import viewer
from butlerql.schema.build import build_schema
from butlerql.scopes import Scope
from tests.schema.print_schema import default_universe
from tests.support.asking import asking, codes_of, data_of
from tests.support.registry_rows import registry_rows
from tests.support.repositories import Layout, RealRepository, Repositories
from tests.support.small import SMALL

WHO = "{ viewer { scopes } }"
CREATE = 'mutation { createCollection(input: {name: "tag", type: TAGGED}) { collection { name } } }'
VALIDATE = 'mutation { validateDatastore(input: {datastore: "FileDatastore@<butlerRoot>"}) { job { id } } }'
CANCEL = "mutation ($id: ID!) { cancelJob(input: {id: $id}) { job { state } } }"
LOG = "{ auditLog { totalCount } jobs { totalCount } }"


@pytest.fixture
def real(repositories: Repositories) -> Iterator[RealRepository]:
    with repositories.private(SMALL, Layout("sqlite")) as made:
        yield made


def test_the_schema_has_them_all() -> None:
    assert list(viewer.Scope) == list(Scope)


def test_what_each_mutation_needs() -> None:
    loaders = every_loader(build_schema(default_universe())).loaders
    needed = {name: loader.scope for name, loader in loaders.items() if loader.scope is not None}
    assert all(name.startswith("Mutation.") for name in needed)
    deleting = dict.fromkeys(("planDeletion", "deleteDatasets", "restoreDeletion"), Scope.DELETE)
    others = {
        "validateDatastore": Scope.VALIDATE,
        "ingestProvenance": Scope.INGEST,
        "cancelJob": Scope.READ,
        **deleting,
    }
    assert needed == {name: others.get(name.removeprefix("Mutation."), Scope.TAG) for name in needed}
    assert others.keys() <= {name.removeprefix("Mutation.") for name in needed}


@pytest.mark.parametrize(
    ("writable", "given", "then"),
    [
        (True, None, ["READ", "TAG", "VALIDATE", "DELETE", "INGEST"]),
        (False, None, ["READ", "VALIDATE"]),
        (True, ["ADMIN", "READ"], ["READ", "ADMIN"]),
        (False, list(Scope), ["READ", "VALIDATE", "INGEST", "ADMIN"]),
    ],
)
async def test_they_are_told(real: RealRepository, writable: bool, given: list[str] | None, then: list[str]) -> None:
    scopes = None if given is None else [Scope(name) for name in given]
    async with asking(real, scopes, writable=writable) as ask:
        assert data_of(await ask(WHO)) == {"viewer": {"scopes": then}}


async def test_what_is_not_granted_is_refused_and_not_begun(real: RealRepository) -> None:
    before = registry_rows(real)
    async with asking(real, [Scope.READ, Scope.DELETE], writable=True) as ask:
        for mutation, name, scope in ((CREATE, "createCollection", "TAG"), (VALIDATE, "validateDatastore", "VALIDATE")):
            refused = await ask(mutation)
            assert codes_of(refused) == [([name], "FORBIDDEN")]
            assert refused.errors is not None
            assert f"needs the scope {scope}" in refused.errors[0].message
            assert "setting `scopes`" in refused.errors[0].message
        assert data_of(await ask(LOG)) == {"auditLog": {"totalCount": 0}, "jobs": {"totalCount": 0}}
    assert registry_rows(real) == before
    async with asking(real, [Scope.READ, Scope.TAG], writable=True) as ask:
        data_of(await ask(CREATE))
        assert codes_of(await ask(VALIDATE)) == [(["validateDatastore"], "FORBIDDEN")]


async def test_a_job_is_stopped_by_those_who_may_have_it_done(real: RealRepository) -> None:
    async with asking(real) as ask:
        job = data_of(await ask(VALIDATE))["validateDatastore"]["job"]["id"]
    async with asking(real, [Scope.READ, Scope.TAG], writable=True) as ask:
        assert codes_of(await ask(CANCEL, id=job)) == [(["cancelJob"], "FORBIDDEN")]
    async with asking(real) as ask:
        assert data_of(await ask(CANCEL, id=job)) == {"cancelJob": {"job": {"state": "CANCELLED"}}}
