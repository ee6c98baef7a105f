"""Limits on images and requests, and on fetching images by URL."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from sightline.settings.fields import MIB, Networks, Ports


class ImageSettings(BaseSettings):
    """Limits on images and requests."""

    image_max_bytes: int = Field(25 * MIB, ge=1, description="Bytes of one image.")
    image_max_pixels: int = Field(50_000_000, ge=1, description="Width × height of one image.")
    image_max_side: int = Field(30_000, ge=1, description="Longer side of one image, in pixels.")
    image_tiff: bool = Field(True, description="Accept TIFF images. Off: they are refused unread.")
    image_avif: bool = Field(True, description="Accept AVIF images. Off: they are refused unread.")
    image_heic: bool = Field(True, description="Accept HEIC images. Off: they are refused unread.")
    request_max_bytes: int = Field(64 * MIB, ge=1, description="Bytes of one request body.")
    request_min_bytes_per_s: int = Field(
        16 * 1024, ge=1, description="Slowest rate at which a request body may arrive."
    )
    request_bodies_mib: int = Field(
        512, ge=1, description="Megabytes of request bodies under way at the same time."
    )
    request_max_images: int = Field(16, ge=1, description="Images in one request.")
    request_max_tasks: int = Field(64, ge=1, description="Tasks in one request.")


class FetchSettings(BaseSettings):
    """Limits on fetching images by URL."""

    fetch_timeout_s: float = Field(10.0, gt=0, description="Whole fetch, redirects included.")
    fetch_connect_timeout_s: float = Field(3.0, gt=0, description="Connecting, TLS included.")
    fetch_dns_timeout_s: float = Field(2.0, gt=0, description="Resolving a name.")
    fetch_idle_timeout_s: float = Field(5.0, gt=0, description="Silence between two pieces of a body.")
    fetch_max_redirects: int = Field(3, ge=0, description="Redirects followed, each checked again.")
    fetch_ports: Ports = Field((80, 443), description="Ports a URL may name.")
    fetch_allow_networks: Networks = Field((), description="Private networks (CIDR) that URLs may reach.")
