"""The bill of materials: valid by CycloneDX's own schemas, the same for the same packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from referencing import Registry, Resource

from govsec.host.tables import Package
from govsec.inventory.api import Known, Platform, State
from govsec.inventory.sbom import SpecVersion, package_url, write_sbom

SCHEMAS = Path(__file__).resolve().parents[1] / "vectors" / "cyclonedx"
DEBIAN = Platform("debian", "12", "bookworm")
PACKAGES = [
    Package("libstdc++6", "12.2.0-14", "amd64", "dpkg", "gcc-12", "12.2.0-14"),
    Package("bash", "5.2.15-2+b2", "amd64", "dpkg", "bash", "5.2.15-2"),
    Package("libssl3", "1:3.0~rc1-1", "amd64", "dpkg", "openssl", "1:3.0~rc1-1"),
    Package("bash", "5.2.15-2+b2", "i386", "dpkg", "bash", "5.2.15-2"),
    Package('evil\udcff\n</x>"', "1 \x00", "", "dpkg", "evil", "1"),
]
KNOWN = {
    "openssl": (
        Known("CVE-1", (), State.FIX, "3.0-2", "high", "a hole"),
        Known("CVE-2", (), State.UNDETERMINED, "", "", ""),
    )
}


def problems(data: bytes, version: str) -> list[str]:
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.schema.json")}
    assert len(schemas) == 2
    registry: Registry[Any] = Registry().with_resources(
        [(schema["$id"], Resource.from_contents(schema)) for schema in schemas.values()]
    )
    validator = jsonschema.Draft7Validator(schemas[f"bom-{version}.schema.json"], registry=registry)
    return [error.message for error in validator.iter_errors(json.loads(data))]


@pytest.mark.parametrize("version", get_args(SpecVersion))
def test_the_bill_is_valid_by_the_published_schema(version: SpecVersion) -> None:
    data = write_sbom(PACKAGES, DEBIAN, host="h", time_ns=1, version=version, known=KNOWN)

    assert problems(data, version) == []
    bill = json.loads(data)
    assert len(bill["components"]) == len({one["bom-ref"] for one in bill["components"]}) == len(PACKAGES)
    references = {one["bom-ref"] for one in bill["components"]}
    assert {ref["ref"] for one in bill["vulnerabilities"] for ref in one["affects"]} <= references
    del bill["specVersion"]
    assert problems(json.dumps(bill).encode(), version) != []


def test_the_same_packages_in_another_order_give_the_same_bytes_and_others_another_number() -> None:
    one = write_sbom(PACKAGES, DEBIAN, host="h", time_ns=1)

    assert write_sbom(PACKAGES[::-1], DEBIAN, host="h", time_ns=1) == one
    other = write_sbom(PACKAGES[:1], DEBIAN, host="h", time_ns=1)
    assert json.loads(other)["serialNumber"] != json.loads(one)["serialNumber"]


@pytest.mark.parametrize(
    ("package", "platform", "url"),
    [
        (PACKAGES[0], DEBIAN, "pkg:deb/debian/libstdc++6@12.2.0-14?arch=amd64&distro=debian-12"),
        (PACKAGES[2], DEBIAN, "pkg:deb/debian/libssl3@1:3.0~rc1-1?arch=amd64&distro=debian-12"),
        (
            Package("openssl", "1:3.0.7-27.el9", "x86_64", "rpm", "openssl", "1:3.0.7-27.el9"),
            Platform("rocky", "9.4", ""),
            "pkg:rpm/rocky/openssl@3.0.7-27.el9?arch=x86_64&distro=rocky-9.4&epoch=1",
        ),
    ],
)
def test_a_package_url_has_the_parts_that_its_type_wants(package: Package, platform: Platform, url: str) -> None:
    assert package_url(package, platform) == url
