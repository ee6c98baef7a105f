"""A run put together: the folder, its state, the archive's client, and who judges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sightline.capabilities.label_sets import LABEL_SETS
from sightline.errors import ConfigurationError, ModelError
from sightline.imaging.limits import ImageLimits
from sightline.imaging.pdf import PdfLimits
from sightline.jobs.koop.archive.query import require_range
from sightline.jobs.koop.archive.search import Search
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.polite import PoliteClient, PolitenessPolicy
from sightline.jobs.koop.run.classifier import Classifier, PageLimits, ZeroShotClassifier
from sightline.jobs.koop.run.download import Download, Sources
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.run.progress import Report, Warned
from sightline.jobs.koop.run.rules import Rules, remember_rules, require_same_rules
from sightline.jobs.koop.store.folder import STATE_NAME, occupied
from sightline.jobs.koop.store.rates import learned_rates
from sightline.jobs.koop.store.state import State
from sightline.jobs.looking import for_many
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.engine import Context
from sightline.settings import Settings

# However little a host bears: slower would not end.
_FLOOR_PER_S = 0.1
_TIMEOUT_S = 60.0

# A day has hundreds.
_PICTURES = 1000


@asynccontextmanager
async def downloading(
    settings: Settings, options: Options, folder: Path, report: Report
) -> AsyncIterator[tuple[Download, State]]:
    """A run that is ready to begin, and the state it works on. Nothing has been asked of the archive yet.

    Raises:
        InvalidRequest: the range or the question is none, the folder is in use or cannot be written, or other
            rules would remove files from it.
        ConfigurationError: a setting is wrong or missing.
        ModelError: there is no model to judge with, and the rules need one; the message says how to get it.
    """
    require_range(options.first, options.last, options.today)
    options.query_hash(options.first)  # what is wrong with the question is wrong on every day
    policy = manners_from(settings)
    pages = page_limits(settings, options)
    async with AsyncExitStack() as stack:
        blobs = stack.enter_context(occupied(folder))
        state = stack.enter_context(State(folder / STATE_NAME))
        require_same_rules(Rules.of(settings, options), options, state, folder)  # before models are loaded
        judge, words = await _judge(stack, settings, options, pages, report)
        rules = Rules.of(settings, options, words)
        require_same_rules(rules, options, state, folder)
        remember_rules(rules, options, state)
        client = PoliteClient(
            policy,
            [settings.koop_search_url, settings.koop_reader_url, settings.koop_attachments_url],
            learned=learned_rates(state),
        )
        await stack.enter_async_context(client)
        sources = Sources(client, Search(client, settings.koop_search_url), judge)
        limits = ImageLimits.from_settings(settings)
        yield Download(options, state, blobs, sources, report, pages, limits), state


async def _judge(
    stack: AsyncExitStack, settings: Settings, options: Options, pages: PageLimits, report: Report
) -> tuple[Classifier | None, str | None]:
    """Who judges, and the digest of what the label set says. Nobody, where everything stays anyway and there
    is no model."""
    analyzer = await stack.enter_async_context(Analyzer.create(for_many(settings, _PICTURES)))
    try:
        judge = await ZeroShotClassifier.ready(analyzer, options.label_set, pages)
    except ModelError as error:
        if options.keep is not Keep.ALL or options.dry_run:
            raise
        report(Warned(f"images are kept without a verdict: {error}"))
        return None, None
    for warning in judge.warnings:
        report(Warned(warning))
    return judge, await _words(analyzer, options.label_set)


async def _words(analyzer: Analyzer, label_set: str) -> str:
    context = Context.lasting(_TIMEOUT_S)
    found = (await analyzer.engine.infer_with(LABEL_SETS, label_set, context)).output
    rules = [(each.name, each.any_above, each.all_below) for each in found.rules]
    return hashlib.sha256(json.dumps([found.prompts, rules]).encode()).hexdigest()[:8]


def manners_from(settings: Settings) -> PolitenessPolicy:
    """How the archive is treated.

    Raises:
        ConfigurationError: there is no contact, or a figure is out of range.
    """
    if settings.koop_contact is None:
        raise ConfigurationError(
            "the archive must be able to find you: give a URL or mail address of yours in --contact or "
            "SIGHTLINE_KOOP_CONTACT; it is sent with every request"
        )
    rate_per_s = settings.koop_rate_per_s
    return PolitenessPolicy(
        contact=settings.koop_contact,
        rate_per_s=rate_per_s,
        burst=float(settings.koop_burst),
        floor_per_s=min(_FLOOR_PER_S, rate_per_s),
        ceiling_per_s=max(settings.koop_max_rate_per_s, rate_per_s),
        concurrent=settings.koop_concurrency,
        patience_s=settings.koop_patience_s,
    )


def page_limits(settings: Settings, options: Options) -> PageLimits:
    """How documents are drawn under these settings."""
    pdf = PdfLimits(
        max_bytes=settings.koop_file_max_bytes,
        max_pages=options.max_pages,
        max_page_pixels=settings.image_max_pixels,
        max_side=settings.image_max_side,
        page_timeout_s=settings.koop_page_timeout_s,
        document_timeout_s=settings.koop_document_timeout_s,
    )
    return PageLimits(pdf, options.look_dpi, options.keep_dpi)
