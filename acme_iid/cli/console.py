"""``acme-iid-ca console``: pages about the CA and its fleet, for a browser on this machine."""

from __future__ import annotations

import signal
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import click

from acme_iid.admin.problems import ProblemError
from acme_iid.admin.table import named
from acme_iid.admin_client.errors import AdminError
from acme_iid.cli import asking
from acme_iid.console.source import SourceError
from acme_iid.errors import NotFoundError, RequestError, StoreUnavailableError

if TYPE_CHECKING:
    from acme_iid.cli import Home
    from acme_iid.cli.asking import Way
    from acme_iid.operations.chain_proof import ChainProof
    from acme_iid.operations.descriptions.certificates import CertificateRow
    from acme_iid.operations.descriptions.events import RecordedEvent
    from acme_iid.operations.descriptions.instances import InstanceDescription, InstanceRow
    from acme_iid.operations.descriptions.pages import Page
    from acme_iid.operations.descriptions.refusals import RefusalRow
    from acme_iid.operations.descriptions.status import StatusDescription
    from acme_iid.operations.over_time import Ending, FleetPoint, RefusalCount


@click.command(short_help="Look at the CA and its fleet in a browser.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="The port on 127.0.0.1; 0 is any free one.",
)
@click.option("--open", "opens", is_flag=True, help="Open the link in a browser.")
@click.pass_obj
def console(home: Home, *, port: int, opens: bool) -> None:
    """Serve pages on this machine that show what you may see: the fleet, refusals with what lifts them, one instance.

    The link that is printed is good once, for ten minutes, in a browser of yours on this machine. Nothing is changed by
    these pages. Ctrl-C ends them.
    """
    from acme_iid.console.server import listening

    source = Asked(asking.way(home), home)
    with _signals() as ended:
        try:
            running = listening(source, port)
            with running as pages:
                click.echo(f"Open this link in a browser on this machine; it is good once:\n{pages.link}")
                if opens:
                    webbrowser.open(pages.link)
                signal.sigwait(ended)
        except OSError as error:
            raise click.ClickException(f"port {port} of 127.0.0.1 cannot be had: {error.strerror}") from error


@contextmanager
def _signals() -> Iterator[set[signal.Signals]]:
    """Keep the signals that end the pages for whoever waits for them, from threads too that begin in the block."""
    ending = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield ending
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Asked:
    """What the pages read, by acts; see :class:`~acme_iid.console.source.Source`.

    :param way: how they are done.
    :param home: the CA's home; the place that is named where that is worked in.
    """

    def __init__(self, way: Way, home: Home) -> None:
        self._way = way
        self._lock = threading.Lock()
        self.place = str(way.place) if isinstance(way, asking.Remote) else str(home.path)
        # A store that is opened here is opened now, by the thread that closes it.
        self._ask("events.head")

    def status(self) -> StatusDescription:
        """The CA and its fleet."""
        found: StatusDescription = self._ask("status.show")
        return found

    def fleet_over_time(self) -> Sequence[FleetPoint]:
        """The fleet by cloud and owner."""
        return self._items("fleet.over_time")

    def endings(self) -> Sequence[Ending]:
        """The certificates that end soon."""
        return self._items("fleet.endings")

    def chain(self) -> ChainProof:
        """The chain of events, proven."""
        proof: ChainProof = self._ask("events.proof")
        return proof

    def refusals_over_time(self, seconds: int, points: int) -> Sequence[RefusalCount]:
        """The refusals by step and rule."""
        return self._items("refusal.over_time", back=f"{seconds}s", points=points)

    def refusals(self, before: str | None, limit: int, instance: str | None = None) -> Page[RefusalRow]:
        """The refusals."""
        return self._page("refusal.list", before=before, limit=limit, instance=instance)

    def instance(self, word: str) -> InstanceDescription:
        """An instance."""
        found: InstanceDescription = self._ask("instance.show", id=word)
        return found

    def events(self, instance: str, before: str | None, limit: int, kind: str | None = None) -> Page[RecordedEvent]:
        """An instance's events."""
        return self._page("events.list", before=before, limit=limit, instance=instance, kind=kind)

    def certificates(self, instance: str, before: str | None, limit: int) -> Page[CertificateRow]:
        """An instance's certificates."""
        return self._page("certificate.list", before=before, limit=limit, instance=instance)

    def search(self, word: str, limit: int) -> Sequence[InstanceRow]:
        """The instances that a word may mean."""
        return self._items("instance.search", about=word, limit=limit)

    def _page(self, name: str, **parameters: object) -> Page[Any]:
        found: Page[Any] = self._ask(name, **parameters)
        return found

    def _items(self, name: str, **parameters: object) -> list[Any]:
        found: list[Any] = self._ask(name, **parameters)["items"]
        return found

    def _ask(self, name: str, /, **parameters: object) -> Any:
        given = {key: value for key, value in parameters.items() if value is not None}
        try:
            with self._lock:
                return self._way.ask(named(name), given)
        except (AdminError, ProblemError) as refusal:
            error = asking.as_admin_error(refusal)
            role = error.members.get("role")
            raise SourceError(error.detail, error.status, role if isinstance(role, str) else None) from error
        except NotFoundError as error:
            raise SourceError(str(error), HTTPStatus.NOT_FOUND) from error
        except RequestError as error:
            raise SourceError(str(error), HTTPStatus.BAD_REQUEST) from error
        except StoreUnavailableError as error:
            raise SourceError(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from error
