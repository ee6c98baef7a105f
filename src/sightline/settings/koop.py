"""Settings of the archive of Dutch official publications (KOOP)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from sightline.settings.fields import MIB


class KoopSettings(BaseSettings):
    """Addresses of the archive, the rate of requests to it, and limits on its files."""

    koop_contact: str | None = Field(
        None, description="URL or mail address at which the archive finds you; sent with every request."
    )
    koop_search_url: str = Field("https://repository.overheid.nl/sru", description="The archive's search.")
    koop_reader_url: str = Field(
        "https://zoek.officielebekendmakingen.nl",
        description="The archive's site for readers, which has the illustrations.",
    )
    koop_attachments_url: str = Field(
        "https://repository.officiele-overheidspublicaties.nl/externebijlagen",
        description="The archive's folder of external attachments.",
    )
    koop_texts_from: str = Field(
        "reader",
        pattern="^(reader|repository)$",
        description="Whether texts come from the site for readers or from the repository, as records say.",
    )
    koop_rate_per_s: float = Field(
        0.85, gt=0, description="Requests per second to each host of the archive, to begin with."
    )
    koop_max_rate_per_s: float = Field(
        0.95, gt=0, description="Most requests per second to each host of the archive."
    )
    koop_burst: int = Field(
        50, ge=1, description="Requests a host of the archive may get at once after a rest."
    )
    koop_concurrency: int = Field(
        4, ge=1, le=16, description="Publications worked on, and requests to one host, at the same time."
    )
    koop_patience_s: float = Field(
        1800.0, gt=0, description="Longest wait for a host of the archive that gives no answer at all."
    )
    koop_file_max_bytes: int = Field(100 * MIB, ge=1, description="Bytes of one text, image or PDF.")
    koop_page_timeout_s: float = Field(20.0, gt=0, description="Longest that drawing one PDF page may take.")
    koop_document_timeout_s: float = Field(120.0, gt=0, description="Longest that drawing one PDF may take.")
    koop_day_timeout_s: float = Field(
        43_200.0, gt=0, description="Longest that one day's publications may take."
    )
