"""The packages of a machine as a software bill of materials: CycloneDX 1.6 in JSON, the same for the same packages.

One idea: nothing in it is by chance. Components are in order, the serial number follows from the contents, and the time
is that of the snapshot; so two bills differ when the machines do.

Source: ECMA-424 (CycloneDX 1.6); package URLs: purl-spec, types deb, rpm and apk.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import quote

from govsec import canonical
from govsec.clock import format_time, from_ns
from govsec.findings.judgement import clean
from govsec.host.tables import Package
from govsec.inventory.api import Known, Platform, State

SpecVersion = Literal["1.5", "1.6"]
_TYPES = {"dpkg": "deb", "rpm": "rpm", "apk": "apk"}
#: CycloneDX's words for what an analysis found (vulnerability.analysis.state).
_STATES = dict.fromkeys(State, "exploitable") | {State.UNDETERMINED: "in_triage"}
_NAMESPACE = uuid.UUID("6f1f5b0e-6a5c-5d0e-9d0b-3c8f6a6c2b11")  # ours, for serial numbers of bills


def write_sbom(
    packages: Iterable[Package],
    platform: Platform,
    *,
    host: str,
    time_ns: int,
    version: SpecVersion = "1.6",
    known: Mapping[str, tuple[Known, ...]] | None = None,
) -> bytes:
    """The bill as JSON; ``known`` (by source package) is written into it as vulnerabilities."""
    rows = sorted(packages, key=lambda one: (one.manager, one.name, one.architecture, one.version))
    components: dict[str, dict[str, object]] = {}
    references: dict[str, list[str]] = {}
    for row in rows:
        reference = package_url(row, platform)
        components[reference] = _component(row, reference)
        references.setdefault(row.source, []).append(reference)
    body: dict[str, object] = {
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "version": 1,
        "metadata": {
            "timestamp": format_time(from_ns(time_ns)),
            "tools": {"components": [{"type": "application", "name": "govsec"}]},
            "component": {
                "type": "operating-system",
                "bom-ref": "host",
                "name": clean(host) or "host",
                "version": clean(f"{platform.id} {platform.version}".strip()) or "unknown",
            },
        },
        "components": list(components.values()),
        "dependencies": [{"ref": "host", "dependsOn": list(components)}],
    }
    if known is not None:
        body["vulnerabilities"] = _vulnerabilities(known, references)
    serial = uuid.uuid5(_NAMESPACE, canonical.digest(body))
    schema = f"http://cyclonedx.org/schema/bom-{version}.schema.json"
    document = {"$schema": schema, "serialNumber": f"urn:uuid:{serial}"}
    return json.dumps({**document, **body}, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


def package_url(package: Package, platform: Platform) -> str:
    """The package's URL (purl): type, distribution, name, version; architecture, release and epoch beside it."""
    kind = _TYPES.get(package.manager, "generic")
    version, qualifiers = clean(package.version), {"arch": clean(package.architecture)}
    if kind == "rpm" and ":" in version:  # an rpm's epoch is a qualifier
        epoch, _, version = version.partition(":")
        qualifiers["epoch"] = epoch
    if platform.id:
        qualifiers["distro"] = clean(f"{platform.id}-{platform.version}" if platform.version else platform.id)
    said = "&".join(f"{name}={quote(value, safe='.:_~-')}" for name, value in sorted(qualifiers.items()) if value)
    place = "/".join(quote(clean(part), safe=".+_~-") for part in (platform.id.lower() or "linux", package.name))
    return f"pkg:{kind}/{place}@{quote(version, safe='.:_~-')}" + (f"?{said}" if said else "")


def _component(package: Package, reference: str) -> dict[str, object]:
    properties = [
        {"name": f"govsec:{name}", "value": clean(value)}
        for name, value in (
            ("architecture", package.architecture),
            ("manager", package.manager),
            ("source", package.source),
            ("source_version", package.source_version),
        )
        if value
    ]
    return {
        "type": "library",
        "bom-ref": reference,
        "name": clean(package.name),
        "version": clean(package.version),
        "purl": reference,
        "properties": properties,
    }


def _vulnerabilities(
    known: Mapping[str, tuple[Known, ...]], references: Mapping[str, list[str]]
) -> list[dict[str, object]]:
    found = []
    for source in sorted(known):
        for one in known[source]:
            entry: dict[str, object] = {
                "bom-ref": f"{source} {one.id}",
                "id": one.id,
                "analysis": {"state": _STATES[one.state], "detail": clean(one.state.value)},
                "affects": [{"ref": reference} for reference in references.get(source, [])],
            }
            if one.summary:
                entry["description"] = clean(one.summary)
            if one.fixed_version:
                entry["recommendation"] = clean(f"{source} {one.fixed_version}")
            found.append(entry)
    return found
