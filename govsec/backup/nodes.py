"""From what the system says of a directory entry to the JSON of its node, fast.

``repo.tree`` defines nodes; this is the one writer that does not go through its model. A backup formats every entry of
the source on every run, also when nothing changed, so what takes microseconds here decides how long an unchanged
backup takes. A node is written as its *head*, everything before ``"content"``, and its tail. Two equal heads mean:
same name, type, mode, owner, times, inode, size, links, attributes. A test holds that the result is what ``repo.tree``
writes for the same node.

Choices within the format: times are written in UTC; ``atime`` repeats ``mtime`` (a real one would change every node on
every run); ``device_id`` is given for hard links alone, where restoring needs it (restic does so since 0.17).
"""

from __future__ import annotations

import base64
import contextlib
import errno
import grp
import os
import pwd
import re
import stat
from datetime import date

import msgspec

from govsec.repo.tree import go_escape, go_mode, go_text, quote

_NS = 1_000_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_MIN, _DAY_MAX = date.min.toordinal() - _EPOCH_DAY, date.max.toordinal() - _EPOCH_DAY
#: Attribute values above this are not honest metadata; Linux itself stops at 64 KiB (XATTR_SIZE_MAX).
_XATTR_SIZE_MAX = 64 << 10
#: File systems without extended attributes, and entries that vanished between two calls.
_NO_XATTRS = {errno.ENOTSUP, errno.ENODATA, errno.EOPNOTSUPP}
_CACHE_MAX = 100_000
#: Neighbours were often written in the same few seconds.
_SECONDS_MAX = 4096
#: Putting three texts together takes a third of the time of formatting them.
_MINUTES = [f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(24 * 60)]
_SECONDS = [f"{second:02d}" for second in range(60)]
#: Printable ASCII without what strconv.Quote or Go's JSON encoder would escape: " \\ < > &
_PLAIN_NAME = re.compile(rb"[ !#-%'-;=?-\[\]-~]+")
#: The bits of a mode that say what an entry is.
_KIND = 0o170000
_encoder = msgspec.json.Encoder()

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFBLK: "dev",
    stat.S_IFCHR: "chardev",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class NodeWriter:
    """Formats heads; keeps what repeats (owners, modes, days) at hand. One per process."""

    def __init__(self) -> None:
        self._owners: dict[tuple[int, int], str] = {}
        self._modes: dict[int, str] = {}
        self._days: dict[int, str] = {}
        self._seconds: dict[str, str] = {}

    def head(self, name: bytes, status: os.stat_result, extra: str = "", size: int | None = None) -> str:
        """The head of an entry's node; ``extra`` is what stands between ``links`` and ``content``.

        ``size`` is how much of a file was read, when that is not what its status says.
        """
        mode = status.st_mode
        kind = mode & _KIND
        modified = self._time(status.st_mtime_ns)
        middle = ""
        if kind == stat.S_IFREG:
            if status.st_nlink > 1:
                middle = f',"device_id":{status.st_dev}'
            if size is None:
                size = status.st_size
            if size:
                middle += f',"size":{size}'
            middle += f',"links":{status.st_nlink}'
        elif kind in (stat.S_IFLNK, stat.S_IFBLK, stat.S_IFCHR):
            if status.st_nlink > 1:
                middle = f',"device_id":{status.st_dev}'
            middle += f',"links":{status.st_nlink}'
        owner = self._owners.get((status.st_uid, status.st_gid)) or self._owner(status.st_uid, status.st_gid)
        return (
            f'{{"name":{quoted_name(name)}{self._modes.get(mode) or self._mode(mode)}'
            f'"mtime":"{modified}","atime":"{modified}","ctime":"{self._time(status.st_ctime_ns)}"'
            f'{owner},"inode":{status.st_ino}{middle}{extra},"content":'
        )

    def _time(self, time_ns: int) -> str:
        """RFC 3339 in UTC, as Go writes it: the fraction without the zeros at its end."""
        if time_ns < _NS:
            # Python's division rounds down, so a moment before 1970 has a positive fraction as well.
            second, rest = divmod(time_ns, _NS)
            text, fraction = self._second(second), f"{rest:09d}"
        else:
            # The digits are those of the number: cutting its text takes half the time of dividing and formatting.
            digits = str(time_ns)
            known = self._seconds.get(digits[:-9])
            text, fraction = known or self._remembered(digits[:-9]), digits[-9:]
        if fraction[-1] == "0":
            fraction = fraction.rstrip("0")
        return f"{text}.{fraction}Z" if fraction else text + "Z"

    def _remembered(self, digits: str) -> str:
        if len(self._seconds) >= _SECONDS_MAX:
            self._seconds.clear()
        text = self._seconds[digits] = self._second(int(digits))
        return text

    def _second(self, second: int) -> str:
        day, rest = divmod(second, 86400)
        minute, rest = divmod(rest, 60)
        return (self._days.get(day) or self._day(day)) + _MINUTES[minute] + _SECONDS[rest]

    def _day(self, day: int) -> str:
        # Years that RFC 3339 cannot write (a disk says 2^62 seconds) become the nearest that it can.
        within = min(max(day, _DAY_MIN), _DAY_MAX)
        text = date.fromordinal(_EPOCH_DAY + within).isoformat() + "T"
        if len(self._days) < _CACHE_MAX:
            self._days[day] = text
        return text

    def _mode(self, mode: int) -> str:
        value = go_mode(mode)
        text = f',"type":"{TYPES.get(stat.S_IFMT(mode), "irregular")}",' + (f'"mode":{value},' if value else "")
        self._modes[mode] = text
        return text

    def _owner(self, uid: int, gid: int) -> str:
        text = f',"uid":{uid},"gid":{gid}'
        # A number may have no name; restic leaves the field out as well.
        with contextlib.suppress(KeyError):
            text += f',"user":{json_string(os.fsencode(pwd.getpwuid(uid).pw_name))}'
        with contextlib.suppress(KeyError):
            text += f',"group":{json_string(os.fsencode(grp.getgrgid(gid).gr_name))}'
        if len(self._owners) < _CACHE_MAX:
            self._owners[uid, gid] = text
        return text


def quoted_name(raw: bytes) -> str:
    """A name as the JSON string that its node holds, with the outer quotes."""
    if _PLAIN_NAME.fullmatch(raw):
        return f'"{raw.decode("ascii")}"'
    return _json_string(quote(raw))


def json_string(raw: bytes) -> str:
    """Text as Go's encoder writes it, with the outer quotes."""
    return _json_string(go_text(raw))


def _json_string(text: str) -> str:
    return go_escape(_encoder.encode(text)).decode()


def link_target(target: bytes) -> str:
    """The fields of a symbolic link; a target that is not UTF-8 is there twice, as restic does since 0.16."""
    text = f',"linktarget":{json_string(target)}'
    try:
        target.decode("utf-8")
    except UnicodeDecodeError:
        text += f',"linktarget_raw":"{base64.b64encode(target).decode()}"'
    return text


def device(status: os.stat_result) -> str:
    """The field of a device node; 0 is left out."""
    return f',"device":{status.st_rdev}' if status.st_rdev else ""


def own_attributes(descriptor: int) -> str:
    """The field of extended attributes, ACLs among them, of what is open; empty when there are none.

    Raises:
        OSError: they cannot be read.
    """
    return _attributes(descriptor)


def entry_attributes(path: bytes, directory: int, name: bytes) -> str:
    """As :func:`own_attributes`, of an entry of an open directory.

    The names are asked for by ``path`` (cheap, nearly always there are none), names and values then through the open
    directory, so that a directory swapped for a link cannot lend its attributes.

    Raises:
        OSError: they cannot be read.
    """
    try:
        if not os.listxattr(path, follow_symlinks=False):
            return ""
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ""
        if error.errno != errno.ENAMETOOLONG:
            raise
    return _attributes(b"/proc/self/fd/%d/%s" % (directory, name))


def _attributes(safe_path: bytes | int) -> str:
    # The system follows nothing when asked by descriptor, and Python refuses the combination.
    is_open = isinstance(safe_path, int)
    try:
        names = os.listxattr(safe_path, follow_symlinks=is_open)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return ""
        raise
    fields = []
    for name in sorted(names):
        try:
            value = os.getxattr(safe_path, name, follow_symlinks=is_open)
        except OSError as error:
            if error.errno in _NO_XATTRS:
                continue
            raise
        if len(value) <= _XATTR_SIZE_MAX:
            fields.append(f'{{"name":{json_string(os.fsencode(name))},"value":"{base64.b64encode(value).decode()}"}}')
    return f',"extended_attributes":[{",".join(fields)}]' if fields else ""
