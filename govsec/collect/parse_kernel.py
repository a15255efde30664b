"""Kernel parameters, modules, mounts and devices: what is asked of a host, and how its answers are read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import JsonValue

from govsec.collect.probes_host import EncryptionProbe, ModulesProbe, MountsProbe, SysctlProbe, TrustProbe
from govsec.collect.quote import quote
from govsec.collect.readers import plain_lines, scalar, texts, tight, whole_number
from govsec.collect.sources import NoFactError, Reading, Source

MOUNTS_MAX = 2000


def sysctl_sources(probe: SysctlProbe) -> tuple[Source, ...]:
    """The files below ``/proc/sys``, by one process: the kernel gives nothing to a shell that reads by the byte."""
    places = " ".join(map(_sysctl_path, probe.keys))
    return (
        Source(
            "sysctl",
            f"[ -d /proc/sys/kernel ] || exit 92; show {places}",
            sudo=probe.privilege == "sudo",
            size_max=64 << 10,
        ),
    )


def _sysctl_path(key: str) -> str:
    # A star stands for one name: quoted it would be none, and the model lets no other sign of a shell in.
    return "/proc/sys/" + (key if "/" in key else key.replace(".", "/"))


def _sysctl_key(path: str) -> str:
    """As sysctl(8) writes it: a dot in a name (``eth0.100``) is a slash there."""
    return ".".join(name.replace(".", "/") for name in path.removeprefix("/proc/sys/").split("/"))


def parse_sysctl(probe: SysctlProbe, reading: Reading) -> JsonValue:
    """See :class:`SysctlProbe`."""
    files = reading.files("sysctl")
    values: dict[str, JsonValue] = {
        key: scalar(tight(lines[0])) for key in probe.keys if (lines := files.get(_sysctl_path(key)))
    }
    missing = [key for key in probe.keys if key not in values]
    for pattern in (key for key in probe.keys if "*" in key):
        form = re.escape(_sysctl_path(pattern)).replace(r"\*", "[^/]+")
        found = {_sysctl_key(path): lines for path, lines in files.items() if lines and re.fullmatch(form, path)}
        values.update({key: scalar(tight(lines[0])) for key, lines in found.items()})
        if found:
            missing.remove(pattern)
    if reading.unreadable("sysctl"):
        raise NoFactError("denied", "a kernel parameter may not be read")
    return {"values": values, "missing": texts(missing)}


LOADED_MODULES = Source("loaded", "need awk; [ -r /proc/modules ] || exit 0; lim awk '{ print $1 }' /proc/modules")
MODPROBE = Source(
    "modprobe", "show /etc/modprobe.d/*.conf /run/modprobe.d/*.conf /lib/modprobe.d/*.conf /usr/lib/modprobe.d/*.conf"
)


def modules_sources(probe: ModulesProbe) -> tuple[Source, ...]:
    """What is loaded, what modprobe's files say, and which of the names this kernel's tree has."""
    names = "|".join(re.escape(name).replace("_", "[-_]").replace("\\-", "[-_]") for name in probe.names)
    pattern = quote(f"/({names})[.]ko")
    shell = f"""d=/lib/modules/$(uname -r)
for f in builtin dep; do
  [ -r "$d/modules.$f" ] || continue
  mark "$f"; if [ "$f" = dep ]; then lim cut -d: -f1 "$d/modules.dep" | grep -E {pattern}
  else lim grep -E {pattern} "$d/modules.builtin"; fi
done
:"""
    return (LOADED_MODULES, MODPROBE, Source("tree", shell))


def parse_modules(probe: ModulesProbe, reading: Reading) -> JsonValue:
    """See :class:`ModulesProbe`."""
    loaded = {_module(name) for name in reading.text("loaded").split()}
    trees: dict[str, set[str]] = {}
    for record in reading.records("tree"):
        head, _, body = record.partition("\n")
        trees[head] = {_module(path.rsplit("/", 1)[-1].split(".ko")[0]) for path in body.split("\n") if path}
    blacklisted, disabled = set(), set()
    for lines in reading.files("modprobe").values():
        for line in plain_lines(lines):
            words = line.split()
            if words[0] == "blacklist" and len(words) > 1:
                blacklisted.add(_module(words[1]))
            elif words[0] == "install" and len(words) > 2 and words[2].rsplit("/", 1)[-1] in ("true", "false"):
                disabled.add(_module(words[1]))
    modules: dict[str, JsonValue] = {}
    for name in probe.names:
        key = _module(name)
        modules[name] = {
            "loaded": key in loaded,
            "builtin": key in trees.get("builtin", set()),
            "available": key in trees.get("dep", set()),
            "blacklisted": key in blacklisted,
            "disabled": key in disabled,
        }
    return {"modules": modules, "loaded_count": len(loaded)}


def _module(name: str) -> str:
    return name.replace("-", "_")


MOUNTS = Source("mounts", "show /proc/self/mounts /etc/fstab /proc/swaps", size_max=512 << 10)
MAPPED = Source("mapped", "show /sys/block/dm-*/dm/uuid /sys/block/dm-*/dm/name")


def mounts_sources(probe: MountsProbe) -> tuple[Source, ...]:
    """The kernel's tables, fstab, and which mapped devices are encrypted."""
    return (MOUNTS, MAPPED)


def parse_mounts(probe: MountsProbe, reading: Reading) -> JsonValue:
    """See :class:`MountsProbe`."""
    files = reading.files("mounts")
    if "/proc/self/mounts" not in files:
        raise NoFactError("error", "the host did not say what is mounted")
    mounts = _table(files["/proc/self/mounts"])
    swap: list[JsonValue] = []
    for line in files.get("/proc/swaps", [])[1:101]:
        words = line.split()
        if len(words) >= 2:
            swap.append({"name": words[0], "type": words[1], "encrypted": _is_encrypted(words[0], reading)})
    return {
        "mounts": dict(list(mounts.items())[:MOUNTS_MAX]),
        "fstab": dict(list(_table(files.get("/etc/fstab", [])).items())[:MOUNTS_MAX]),
        "swap": swap,
        "truncated": len(mounts) > MOUNTS_MAX,
    }


def _table(lines: Iterable[str]) -> dict[str, JsonValue]:
    table: dict[str, JsonValue] = {}
    for line in plain_lines(lines):
        words = [_unescape(word) for word in line.split()]
        if len(words) >= 4:
            options = texts(words[3].split(",")[:100])
            table[words[1]] = {"source": words[0], "type": words[2], "options": options}
    return table


def _unescape(word: str) -> str:
    return re.sub(r"\\(040|011|012|134)", lambda match: chr(int(match.group(1), 8)), word)


def _is_encrypted(device: str, reading: Reading) -> bool | None:
    match = re.fullmatch(r"/dev/(dm-[0-9]+)", device)
    if match is None:
        return None if device.startswith("/dev/zram") else False
    uuid = reading.files("mapped").get(f"/sys/block/{match.group(1)}/dm/uuid")
    return None if not uuid else uuid[0].startswith("CRYPT-")


ENCRYPTION = Source(
    "devices",
    """need lsblk
ls /sys/block/* >/dev/null || exit 90
lim lsblk -n -P -o NAME,TYPE,FSTYPE,MOUNTPOINT,PKNAME; r=$?
[ -r /etc/crypttab ] && awk -v T="$T" '!/^[ \\t]*(#|$)/ { print "@" T " crypttab " $1 " " $2 }' /etc/crypttab
exit $r""",
    sudo=True,
    codes=(0, 1, 32, 64),
)


def encryption_sources(probe: EncryptionProbe) -> tuple[Source, ...]:
    """``lsblk``, and names and devices of crypttab (never its key field)."""
    return (ENCRYPTION,)


def parse_encryption(probe: EncryptionProbe, reading: Reading) -> JsonValue:
    """See :class:`EncryptionProbe`."""
    listing, *marked = reading.text("devices").split(f"@{reading.token} ")
    rows = [dict(re.findall(r'([A-Z]+)="([^"]*)"', line)) for line in listing.split("\n")]
    rows = [row for row in rows if row.get("NAME") and row.get("TYPE") not in ("loop", "rom")][:MOUNTS_MAX]
    if not rows:
        raise NoFactError("absent", "no block devices are seen from here")
    # lsblk names a mapped device once under each of its parents, so all parents are followed.
    parents: dict[str, set[str]] = {}
    for row in rows:
        parents.setdefault(row["NAME"], set()).add(row.get("PKNAME", ""))
    crypt = {row["NAME"] for row in rows if row.get("TYPE") == "crypt"}
    encrypted = {name for name in parents if _reaches(name, crypt, parents)}
    mounted = {row["MOUNTPOINT"]: row["NAME"] in encrypted for row in rows if row.get("MOUNTPOINT")}
    crypttab: list[JsonValue] = []
    for record in marked:
        words = record.split()
        if words[:1] == ["crypttab"] and len(words) == 3:
            crypttab.append({"name": words[1], "source": words[2]})
    devices: list[JsonValue] = [
        {
            "name": row["NAME"],
            "type": row.get("TYPE", ""),
            "filesystem": row.get("FSTYPE") or None,
            "mounted_at": row.get("MOUNTPOINT") or None,
            "encrypted": row["NAME"] in encrypted,
        }
        for row in rows
    ]
    return {
        "devices": devices,
        "crypttab": crypttab,
        "encrypted_mounts": texts(sorted(place for place, is_so in mounted.items() if is_so)),
        "plain_mounts": texts(sorted(place for place, is_so in mounted.items() if not is_so)),
        "root_encrypted": mounted.get("/"),
    }


def _reaches(name: str, crypt: set[str], parents: dict[str, set[str]]) -> bool:
    seen: set[str] = set()
    left = [name]
    while left:
        one = left.pop()
        if one in crypt:
            return True
        if one and one not in seen:
            seen.add(one)
            left.extend(parents.get(one, ()))
    return False


TRUST = Source(
    "trust",
    """g=8be4df61-93ca-11d2-aa0d-00e098032b8c; e=/sys/firmware/efi
[ -d "$e" ] && echo efi=1
for v in SecureBoot SetupMode; do
  f=$e/efivars/$v-$g; [ -r "$f" ] && echo "$v=$(od -An -tu1 "$f" | tr -d '\\n')"
done
for t in /sys/class/tpm/tpm0 /sys/class/tpm/tpmrm0; do
  [ -e "$t" ] || continue
  echo tpm=1; [ -r "$t/tpm_version_major" ] && read -r v <"$t/tpm_version_major" && echo "tpm_version=$v"
done
i=/sys/kernel/security/ima
[ -d "$i" ] && { echo ima=1
  for v in runtime_measurements_count violations; do [ -r "$i/$v" ] && read -r x <"$i/$v" && echo "$v=$x"; done
  [ -e "$i/policy" ] || echo policy_set=1; }
[ -r /sys/kernel/security/lockdown ] && read -r v </sys/kernel/security/lockdown && echo "lockdown=$v"
for f in /boot/grub/grub.cfg /boot/grub2/grub.cfg /boot/grub2/user.cfg /boot/efi/EFI/*/grub.cfg \\
  /boot/efi/EFI/*/user.cfg; do
  [ -r "$f" ] && { echo grub=1; grep -q -E '^[ \\t]*password|^GRUB2_PASSWORD=' "$f" && echo grub_password=1; }
done
read -r v </proc/cmdline && echo "cmdline=$v"
:""",
    sudo=True,
    size_max=64 << 10,
)


def trust_sources(probe: TrustProbe) -> tuple[Source, ...]:
    """Firmware variables, TPM, IMA, lockdown, boot loader."""
    return (TRUST,)


def parse_trust(probe: TrustProbe, reading: Reading) -> JsonValue:
    """See :class:`TrustProbe`."""
    values: dict[str, str] = {}
    for line in reading.text("trust").split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            values.setdefault(name, value.strip())
    secure, setup = (_firmware_flag(values.get(name)) for name in ("SecureBoot", "SetupMode"))
    state = (
        "unsupported" if "efi" not in values else "unknown" if secure is None else "enabled" if secure else "disabled"
    )
    command_line = values.get("cmdline", "").split()[:200]
    lockdown = re.search(r"\[(none|integrity|confidentiality)\]", values.get("lockdown", ""))
    appraise = next((word.split("=", 1)[1] for word in command_line if word.startswith("ima_appraise=")), None)
    version = {"1": "1.2", "2": "2.0"}.get(values.get("tpm_version", ""))
    has_ima = "ima" in values
    return {
        "secure_boot": state,
        "setup_mode": setup,
        "tpm": {"present": "tpm" in values, "version": version},
        "ima": {
            "present": has_ima,
            "measurements": whole_number(values.get("runtime_measurements_count", "")),
            "violations": whole_number(values.get("violations", "")),
            "policy_set": "policy_set" in values if has_ima else None,
            "appraise": appraise,
        },
        "lockdown": lockdown.group(1) if lockdown else None,
        "grub_password": "grub_password" in values if "grub" in values else None,
        "command_line": texts(command_line),
    }


def _firmware_flag(text: str | None) -> bool | None:
    """The fifth byte of an EFI variable: four bytes of attributes, then the value."""
    words = (text or "").split()
    return words[-1] == "1" if len(words) == 5 and words[-1] in ("0", "1") else None
