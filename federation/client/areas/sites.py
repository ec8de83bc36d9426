"""Sites, how they come in, and the links between their regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from federation.client.areas import base
from federation.client.values import Access, Invitation, Joined
from federation.core import ids, site
from federation.v1 import sites_pb2
from federation.wire import codec


class Sites(base.Area):
    """Sites and links."""

    def create_site(self, new: site.Site, *, request_id: str = "") -> site.Site:
        """Declares a site; its agent makes it READY. For administrators."""
        request = sites_pb2.CreateSiteRequest(
            site_id=new.site, site=codec.to_message(new, sites_pb2.Site), request_id=request_id
        )
        return self._value(site.Site, "Sites.CreateSite", request)

    def invite_site(
        self, name: str, *, hosts: Iterable[str] = (), expires_in_seconds: int = 0, request_id: str = ""
    ) -> Invitation:
        """A join token for a declared site, good once; `hosts` are those of its gateway. For administrators."""
        request = sites_pb2.InviteSiteRequest(name=base.named(name, "sites"), hosts=hosts, request_id=request_id)
        if expires_in_seconds:
            request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=expires_in_seconds))
        made = self._connection.call("Sites.InviteSite", request)
        return Invitation(
            site=made.site, secret=made.secret, expire_time=codec.to_time(made.expire_time), hosts=tuple(made.hosts)
        )

    def join_site(self, secret: str, csr: bytes = b"") -> Joined:
        """Comes in as a site: its name, its certificate, and the CA's. Needs no token but the join token's secret."""
        answer = self._connection.call("Sites.JoinSite", sites_pb2.JoinSiteRequest(secret=secret, csr=csr))
        return Joined(site=ids.child(answer.site, "sites"), certificate=answer.certificate, ca=answer.ca)

    def admit_site(self, name: str, grade: str, reason: str = "", *, request_id: str = "") -> site.Site:
        """Holds a site's grade down to B or C; with A its tests decide again. For administrators."""
        request = sites_pb2.AdmitSiteRequest(name=base.named(name, "sites"), grade=grade, reason=reason, request_id=request_id)
        return self._value(site.Site, "Sites.AdmitSite", request)

    def get_site(self, name: str) -> site.Site:
        """One site."""
        return self._value(site.Site, "Sites.GetSite", sites_pb2.GetSiteRequest(name=base.named(name, "sites")))

    def list_sites(self, *, filter: str = "") -> Iterator[site.Site]:  # noqa: A002
        """All sites, by name."""
        return self._connection.pages("Sites.ListSites", sites_pb2.ListSitesRequest(filter=filter))

    def update_site(self, changed: site.Site, fields: Iterable[str] = (), *, request_id: str = "") -> site.Site:
        """Changes the named declared fields, or all that are filled. For administrators."""
        request = sites_pb2.UpdateSiteRequest(
            site=codec.to_message(changed, sites_pb2.Site), update_mask=base.mask(fields), request_id=request_id
        )
        return self._value(site.Site, "Sites.UpdateSite", request)

    def delete_site(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Removes a site that holds no replica and runs nothing. For administrators."""
        request = sites_pb2.DeleteSiteRequest(name=base.named(name, "sites"), etag=etag, request_id=request_id)
        self._connection.call("Sites.DeleteSite", request)

    def export_world(self, datasets: Iterable[str] = ()) -> Iterator[bytes]:
        """The running federation as a world file, in pieces: all datasets, or those named. For administrators."""
        request = sites_pb2.ExportWorldRequest(datasets=list(datasets))
        for answer in self._connection.stream("Sites.ExportWorld", request):
            yield answer.data

    def list_links(self, *, filter: str = "") -> Iterator[site.Link]:  # noqa: A002
        """The links between the regions of all sites, priced at this month's volume."""
        return self._connection.pages("Sites.ListLinks", sites_pb2.ListLinksRequest(filter=filter))

    def open_check(self, name: str, *, request_id: str = "") -> Access:
        """A grant to have a site's gateway compare its store with the catalog. For administrators."""
        request = sites_pb2.OpenCheckRequest(name=base.named(name, "sites"), request_id=request_id)
        return base.access(self._connection.call("Sites.OpenCheck", request))
