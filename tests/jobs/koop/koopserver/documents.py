"""A publication's own files, and the listing of an external attachment."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from koopserver.archive import Attachment, Decision, Illustration
from koopserver.records import Hosts

_BOMB_LEVELS = 9


def publication(decision: Decision, hosts: Hosts) -> bytes:
    """The publication's XML, UTF-8; with a byte order mark or an entity bomb when it is to have one."""
    head = "".join(_plaatje(each, decision) for each in decision.illustrations if each.in_head)
    body = "".join(_placed(each, decision) for each in decision.illustrations if not each.in_head)
    record = quoteattr(f"{hosts.reader}/{decision.identifier}/metadata.xml")
    namespace = ' xmlns:s="https://standaarden.overheid.nl/stop/imop/tekst/"' if decision.capitals else ""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        + (entity_bomb_doctype() if decision.entity_bomb else "")
        + f"<officiele-publicatie{namespace}><metadata>"
        f'<meta name="OVERHEIDop.externMetadataRecord" scheme="" '
        f"content={record}/></metadata><kop><titel>GEMEENTEBLAD</titel>"
        "<subtitel>Officiële uitgave van de gemeente "
        f"{escape(decision.creator)}</subtitel></kop><gemeenteblad><kop>{head}"
        f"<titel>{escape(decision.title)}</titel></kop><regeling><aanhef><preambule><al/></preambule></aanhef>"
        f"<regeling-tekst><tekst><al>Kenmerk: {decision.number}</al>"
        '<al>overwegende, <nadruk type="vet">dat</nadruk> de weg binnen de bebouwde kom ligt;</al>'
        + ("<al>&boom;</al>" if decision.entity_bomb else "")
        + f"{body}<al>{escape(decision.creator)}, {decision.available}</al></tekst></regeling-tekst>"
        "</regeling></gemeenteblad></officiele-publicatie>"
    )
    return (b"\xef\xbb\xbf" if decision.byte_order_mark else b"") + text.encode()


def _placed(illustration: Illustration, decision: Decision) -> str:
    before = f"<al>{escape(illustration.text_before)}</al>" if illustration.text_before else ""
    return f"{before}<al>{_plaatje(illustration, decision)}</al>"


def _plaatje(illustration: Illustration, decision: Decision) -> str:
    element = "s:Illustratie" if decision.capitals else "illustratie"
    file_format = illustration.name.rsplit(".", 1)[-1]
    return (
        f'<plaatje><{element} type="foto" uitlijning="start" formaat="{file_format}" '
        f"naam={quoteattr(illustration.name)} alt={quoteattr(illustration.alt)} "
        f'breedte="{illustration.width}" hoogte="{illustration.height}"/></plaatje>'
    )


def metadata(decision: Decision) -> bytes:
    """metadata.xml, where names repeat."""
    lines = [
        ("DC.identifier", decision.identifier),
        ("DC.title", decision.title),
        ("DC.creator", decision.creator),
        ("DC.type", "officiële publicatie"),
        *(("DC.type", each) for each in decision.types),
        ("DCTERMS.available", str(decision.available)),
        ("OVERHEIDvb.typeVerkeersbesluit", decision.measure),
        ("OVERHEIDop.verkeersbordcode", decision.sign),
        *(("OVERHEIDop.externeBijlage", f"{each.filename}|{each.exb_id}") for each in decision.attachments),
    ]
    body = "".join(f'<metadata name="{name}" scheme="" content={quoteattr(text)}/>' for name, text in lines)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<metadata_gegevens>{body}</metadata_gegevens>'.encode()


def reader_page(decision: Decision) -> bytes:
    """What a person reads; the pictures are named beside it."""
    pictures = "".join(f'<p><img src={quoteattr(each.name)} alt=""></p>' for each in decision.illustrations)
    title = escape(decision.title)
    return (
        f'<!DOCTYPE html>\n<html lang="nl"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1>{pictures}</body></html>"
    ).encode()


def listing(attachment: Attachment) -> bytes:
    """Which files an attachment has, and under which labels."""
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<work label="{attachment.exb_id}" '
        f'_latestItem="1/{attachment.label}/{attachment.item}"><expression label="1">'
        f'<manifestation label="{attachment.label}">'
        f"<metadata><size>{len(attachment.content())}</size></metadata>"
        f'<item label="{attachment.item}" _deleted="false"/></manifestation></expression></work>'
    ).encode()


def entity_bomb_doctype() -> str:
    """Nine levels of ten: a billion words from a few hundred bytes. Its last entity is ``boom``."""
    lines = ['<!ENTITY l0 "boom ">']
    lines += (f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, _BOMB_LEVELS + 1))
    lines.append(f'<!ENTITY boom "&l{_BOMB_LEVELS};">')
    return f"<!DOCTYPE officiele-publicatie [{''.join(lines)}]>\n"
