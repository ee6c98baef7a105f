"""What a search answers: pages of records, and diagnostics, in the shapes of SRU 2.0 (and 1.2 for errors)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from koopserver.archive import Decision

PRODUCT_AREA = "officielepublicaties"
_SRU = "http://docs.oasis-open.org/ns/search-ws/sruResponse"
_NAMESPACES = {
    "gzd": "http://standaarden.overheid.nl/sru",
    "overheidwetgeving": "http://standaarden.overheid.nl/wetgeving/",
    "overheid": "http://standaarden.overheid.nl/owms/terms/",
    "dcterms": "http://purl.org/dc/terms/",
    "c": "http://standaarden.overheid.nl/collectie/",
}
_PRECISION = "info:srw/vocabulary/resultCountPrecision/1/estimate"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Base URLs of the three hosts, without a slash at the end."""

    search: str
    reader: str
    attachments: str

    def item(self, decision: Decision, manifestation: str) -> str:
        name = item_name(decision, manifestation)
        place = f"gmb/{decision.year}/{decision.identifier}/1/{manifestation}/{name}"
        return f"{self.search}/frbr/{PRODUCT_AREA}/{place}"


def item_name(decision: Decision, manifestation: str) -> str:
    names = {"metadata": "metadata.xml", "metadataowms": "metadata_owms.xml"}
    return names.get(manifestation, f"{decision.identifier}.{manifestation}")


def values(decision: Decision) -> dict[str, tuple[str, ...]]:
    """A publication as the search index knows it."""
    return {
        "c.product-area": (PRODUCT_AREA,),
        "c.content-area": (f"{PRODUCT_AREA}/gmb/{decision.year}",),
        "cd.datumTijdstipWijzigingExpression": (f"{decision.modified}T09:00:00",),
        "cql.textAndIndexes": (decision.title, decision.measure),
        "dt.identifier": (decision.identifier,),
        "dt.title": (decision.title,),
        "dt.alternative": (_alternative(decision),),
        "dt.type": decision.types,
        "dt.creator": (decision.creator,),
        "dt.publisher": (decision.creator,),
        "dt.available": (str(decision.available),),
        "dt.issued": (str(decision.available),),
        "dt.modified": (str(decision.modified),),
        "dt.date": (str(decision.available),),
        "dt.language": ("nl",),
        "dt.subject": ("Verkeer | Organisatie en beleid",),
        "ot.authority": (decision.creator,),
        "w.publicatienaam": ("Gemeenteblad",),
        "w.publicatienummer": (decision.number,),
        "w.jaargang": (decision.year,),
        "w.organisatietype": ("gemeente",),
        "w.typeVerkeersbesluit": (decision.measure,),
        "w.verkeersbordcode": (decision.sign,),
        "w.externeBijlage": tuple(f"{each.filename}|{each.exb_id}" for each in decision.attachments),
        "w.gemeentenaam": (),
    }


def _alternative(decision: Decision) -> str:
    return f"Gemeente {decision.creator} - {decision.measure} (bord {decision.sign})"


def page(
    decisions: Sequence[Decision], *, total: int, start: int, next_position: int | None, hosts: Hosts
) -> str:
    """A page of a result. A page with any record in the default-namespace dress is dressed so as a whole."""
    plain = any(decision.default_namespace for decision in decisions)
    p, declared = ("", f'xmlns="{_SRU}"') if plain else ("sru:", f'xmlns:sru="{_SRU}"')
    declared += "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items())
    records = "".join(_record(each, start + at, p, hosts) for at, each in enumerate(decisions))
    following = f"<{p}nextRecordPosition>{next_position}</{p}nextRecordPosition>" if next_position else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{p}searchRetrieveResponse {declared}>'
        f"<{p}version>2.0</{p}version><{p}numberOfRecords>{total}</{p}numberOfRecords>"
        + (f"<{p}records>{records}</{p}records>" if records else "")
        + following
        + f"<{p}resultCountPrecision>{_PRECISION}</{p}resultCountPrecision></{p}searchRetrieveResponse>"
    )


def _record(decision: Decision, position: int, p: str, hosts: Hosts) -> str:
    return (
        f"<{p}record><{p}recordSchema>http://standaarden.overheid.nl/sru/</{p}recordSchema>"
        f"<{p}recordXMLEscaping>xml</{p}recordXMLEscaping><{p}recordData><gzd:gzd>"
        f"<gzd:originalData><overheidwetgeving:meta>{_kern(decision)}"
        f"{_mantel(decision, hosts)}{_tpmeta(decision)}"
        f"</overheidwetgeving:meta></gzd:originalData>{_enriched(decision, hosts)}"
        f"</gzd:gzd></{p}recordData><{p}recordPosition>{position}</{p}recordPosition></{p}record>\n"
    )


def _kern(decision: Decision) -> str:
    types = "".join(
        f'<dcterms:type scheme="OVERHEIDop.Rubriek">{escape(each)}</dcterms:type>' for each in decision.types
    )
    creator = escape(decision.creator)
    return (
        f"<overheidwetgeving:owmskern><dcterms:identifier>{decision.identifier}</dcterms:identifier>"
        f"<dcterms:title>{escape(decision.title)}</dcterms:title><dcterms:language>nl</dcterms:language>{types}"
        f'<dcterms:creator scheme="OVERHEID.Gemeente">{creator}</dcterms:creator>'
        f"<dcterms:modified>{decision.modified}</dcterms:modified>"
        f'<overheid:authority scheme="OVERHEID.Gemeente">{creator}</overheid:authority>'
        "</overheidwetgeving:owmskern>"
    )


def _mantel(decision: Decision, hosts: Hosts) -> str:
    available = (
        f"<dcterms:available>{decision.available}</dcterms:available>" if decision.says_available else ""
    )
    return (
        f"<overheidwetgeving:owmsmantel>{available}<dcterms:date>{decision.available}</dcterms:date>"
        f"<dcterms:alternative>{escape(_alternative(decision))}</dcterms:alternative>"
        f"<dcterms:hasVersion resourceIdentifier={quoteattr(f'{hosts.reader}/{decision.identifier}.html')}>1"
        "</dcterms:hasVersion></overheidwetgeving:owmsmantel>"
    )


def _tpmeta(decision: Decision) -> str:
    w = "overheidwetgeving"
    attached = "".join(
        f"<{w}:externeBijlage>{escape(f'{each.filename}|{each.exb_id}')}</{w}:externeBijlage>"
        for each in decision.attachments
    )
    return (
        f"<{w}:tpmeta><c:product-area>{PRODUCT_AREA}</c:product-area>"
        f"<c:content-area>{PRODUCT_AREA}/gmb/{decision.year}</c:content-area>{attached}"
        f"<{w}:jaargang>{decision.year}</{w}:jaargang>"
        f'<{w}:organisatietype scheme="OVERHEID.Organisatietype">gemeente</{w}:organisatietype>'
        f"<{w}:publicatienummer>{decision.number}</{w}:publicatienummer>"
        f"<{w}:publicatienaam>Gemeenteblad</{w}:publicatienaam>"
        f'<{w}:typeVerkeersbesluit scheme="OVERHEIDvb.TypeVerkeersbesluit">{escape(decision.measure)}'
        f"</{w}:typeVerkeersbesluit><{w}:verkeersbordcode>{decision.sign}</{w}:verkeersbordcode></{w}:tpmeta>"
    )


def _enriched(decision: Decision, hosts: Hosts) -> str:
    main = "xml" if "xml" in decision.manifestations else "pdf"
    items = "".join(
        f'<gzd:itemUrl manifestation="{each}">{hosts.item(decision, each)}</gzd:itemUrl>'
        for each in decision.manifestations
    )
    return (
        f"<gzd:enrichedData><gzd:url>{hosts.item(decision, main)}</gzd:url>"
        f"<gzd:preferredUrl>{hosts.reader}/{decision.identifier}.html</gzd:preferredUrl>{items}"
        f"<gzd:timestamp>{decision.modified}T10:35:38.545935+01:00</gzd:timestamp></gzd:enrichedData>"
    )


def diagnostic(number: int, message: str) -> str:
    """An error as the service words it: no count, no records, the status still 200."""
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><searchRetrieveResponse xmlns="{_SRU}" '
        'xmlns:ns3="http://docs.oasis-open.org/ns/search-ws/diagnostic"><version>2.0</version><diagnostics>'
        f"<ns3:diagnostic><ns3:uri>info:srw/diagnostic/1/{number}</ns3:uri><ns3:message>{escape(message)}"
        "</ns3:message></ns3:diagnostic></diagnostics></searchRetrieveResponse>"
    )


def diagnostic_12(number: int, message: str, details: str = "") -> str:
    """The same in SRU 1.2, which does have a count."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><srw:searchRetrieveResponse '
        'xmlns:srw="http://www.loc.gov/zing/srw/"><srw:version>1.2</srw:version>'
        "<srw:numberOfRecords>0</srw:numberOfRecords><srw:diagnostics>"
        '<diag:diagnostic xmlns:diag="http://www.loc.gov/zing/srw/diagnostic/">'
        f"<diag:uri>info:srw/diagnostic/1/{number}</diag:uri><diag:details>{escape(details)}</diag:details>"
        f"<diag:message>{escape(message)}</diag:message></diag:diagnostic></srw:diagnostics>"
        "</srw:searchRetrieveResponse>"
    )
