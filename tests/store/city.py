"""The same-city bucket of a real server, guarded by the policy of ``docs/guides/object-lock.md``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from govsec.store.s3 import S3Store
from govsec.store.s3versions import OwnedS3Store
from tests.support.servers import S3Server

GUIDE = Path(__file__).parents[2] / "docs/guides/object-lock.md"


@dataclass(frozen=True)
class Scene:
    """One object that production stored and, in the bucket of a running server, the two sides that fight over it."""

    server: S3Server
    bucket: str
    production: S3Store
    owner: OwnedS3Store
    #: Raw client with production's credential: the attacker is not bound to our code.
    attacker: Any
    name: str
    version_id: str
    data: bytes

    @property
    def where(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"hr/{self.name}"}

    @property
    def version(self) -> dict[str, str]:
        return {**self.where, "VersionId": self.version_id}

    def is_true(self, data: bytes) -> bool:
        return data == self.data


def policy_of_the_guide(server: S3Server, bucket: str, *, of_production: bool = False) -> str:
    """The guide's policy of the same-city bucket, or of production's own."""
    same_city, production = re.findall(r"```json\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
    text: str = production if of_production else same_city
    for word, who in (("principal", server.production), ("owner", server.owner), ("reader", server.reader)):
        text = text.replace(f"${{{word}}}", who.principal)
    return text.replace("${bucket}", bucket)
