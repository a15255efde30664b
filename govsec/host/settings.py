"""What a sweep over a machine's files looks at; every default with its reason."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from govsec.config import Model

Folder = Annotated[str, Field(pattern=r"^/", max_length=4096)]


class SweepSettings(Model):
    """Where certificates lie, and where no programs are looked for."""

    certificate_folders: tuple[Folder, ...] = Field(
        default=(
            "/etc/ssl",
            "/etc/pki/tls",
            "/etc/letsencrypt/live",
            "/etc/nginx",
            "/etc/apache2",
            "/etc/httpd",
            "/etc/haproxy",
            "/etc/kubernetes/pki",
            "/etc/postgresql",
            "/etc/mysql",
        ),
        max_length=200,
        description="folders that are searched for certificates in PEM or DER; where servers have theirs",
    )
    #: Files of other systems: nobody on this one can reach them, and there are a hundred thousand.
    privileged_skipped: tuple[Folder, ...] = Field(
        default=("/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", "/var/lib/lxc", "/var/lib/machines"),
        max_length=200,
        description="folders that are not searched for set-id programs",
    )
