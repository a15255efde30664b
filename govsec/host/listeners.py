"""Who listens: sockets that anybody may reach, each with the process that holds it.

One idea: the kernel says which sockets listen, but not whose they are; that stands in ``/proc/PID/fd``, where a busy
server has tens of thousands of entries. So the low descriptors of all processes are looked at first, where programs
have their listeners, the search ends when every listener has its holder, and the next search begins where each was
found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from govsec.host.procnet import read_socket_tables
from govsec.host.sockdiag import SOCKETS_MAX, read_sockets
from govsec.host.tables import Listener, Process, ProcessKey, Rows, Socket, TableName, Unavailable
from govsec.host.tree import Gaps, Tree, reason_of

#: Servers open their listeners before they take anybody in.
_LOW_DESCRIPTORS_MAX = 32
#: Looked at in one search; a limit, so that a machine with millions of descriptors is not searched for seconds.
_DESCRIPTORS_MAX = 300_000
#: A search in vain looks at every descriptor of the machine: not in every round.
_SEARCH_AGAIN_ROUNDS = 20
_INIT = 1


class SocketReader:
    """Reads sockets and listeners of one tree; remembers where each listener's holder was found."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._found: dict[int, tuple[ProcessKey, int]] = {}
        #: Listeners of the kernel itself, or of other namespaces: rounds left until they are searched for again.
        self._in_vain: dict[int, int] = {}

    def sockets(self, gaps: Gaps) -> tuple[Socket, ...]:
        """Every TCP and UDP socket of this network namespace.

        Raises:
            OSError, GovsecError: neither the kernel's sock_diag nor its tables can be read.
        """
        return self._read(TableName.SOCKETS, gaps, listeners_only=False)

    def listeners(self, processes: Rows[Process], gaps: Gaps) -> tuple[Listener, ...]:
        """Every listener, with its holder where one of ``processes`` can be found to hold it.

        Raises:
            OSError, GovsecError: as ``sockets``.
        """
        sockets = self._read(TableName.LISTENERS, gaps, listeners_only=True)
        known = () if isinstance(processes, Unavailable) else processes
        holders = self._holders({socket.inode for socket in sockets if socket.inode}, known, gaps)
        by_key = {process.key: process for process in known}
        rows = []
        for socket in sockets:
            process = by_key.get(holders[socket.inode]) if socket.inode in holders else None
            rows.append(_listener(socket, process))
        unknown = sum(row.process is None for row in rows)
        if unknown:
            gaps.add(TableName.LISTENERS, "holder not found", unknown)
        return tuple(sorted(rows, key=lambda row: (row.port, row.protocol, row.family, row.address, row.inode)))

    def _read(self, table: TableName, gaps: Gaps, *, listeners_only: bool) -> tuple[Socket, ...]:
        if self._tree.is_running_system:
            try:
                sockets, left_out = read_sockets(listeners_only=listeners_only)
            except OSError as error:
                gaps.add(table, f"read from /proc/net, because of sock_diag: {reason_of(error)}", 0)
            else:
                if left_out:
                    gaps.add(table, f"more than {SOCKETS_MAX} sockets", left_out)
                return tuple(sockets)
        rows = read_socket_tables(self._tree)
        waiting = {"tcp": "listen", "udp": "close"}
        return tuple(row for row in rows if not listeners_only or row.state == waiting[row.protocol])

    def _holders(self, wanted: set[int], processes: Sequence[Process], gaps: Gaps) -> dict[int, ProcessKey]:
        alive = {process.key for process in processes}
        found = {
            inode: (key, descriptor)
            for inode, (key, descriptor) in self._found.items()
            if inode in wanted and key in alive and self._inode(key.pid, str(descriptor)) == inode
        }
        self._in_vain = {inode: left - 1 for inode, left in self._in_vain.items() if left > 1 and inode in wanted}
        missing = wanted - found.keys() - self._in_vain.keys()
        if missing:
            searched = self._search(missing, processes, gaps)
            found |= searched
            self._in_vain |= dict.fromkeys(missing - searched.keys(), _SEARCH_AGAIN_ROUNDS)
        self._found = found
        return {inode: key for inode, (key, _) in found.items()}

    def _search(self, wanted: set[int], processes: Sequence[Process], gaps: Gaps) -> dict[int, tuple[ProcessKey, int]]:
        """Holders of these inodes: the oldest process that holds one; init last, which keeps those of its services."""
        order = sorted(
            (process for process in processes if not process.is_kernel_thread),
            key=lambda process: (process.key.pid == _INIT, process.key.start_ticks, process.key.pid),
        )
        found: dict[int, tuple[ProcessKey, int]] = {}
        rest: list[tuple[ProcessKey, list[str]]] = []
        left = _DESCRIPTORS_MAX
        closed = 0
        for process in order:
            try:
                names = sorted(self._tree.names(f"/proc/{process.key.pid}/fd"), key=lambda name: (len(name), name))
            except PermissionError:
                closed += 1
                continue
            except OSError:
                continue
            rest.append((process.key, names[_LOW_DESCRIPTORS_MAX:]))
            left -= self._match(process.key, names[:_LOW_DESCRIPTORS_MAX], wanted, found)
            if not wanted - found.keys() or left <= 0:
                break
        for key, names in rest:
            if not wanted - found.keys() or left <= 0:
                break
            left -= self._match(key, names[:left], wanted, found)
        if closed:
            gaps.add(TableName.LISTENERS, "descriptors of a process may not be read", closed)
        if left <= 0:
            gaps.add(TableName.LISTENERS, f"search for holders ended after {_DESCRIPTORS_MAX} descriptors", 0)
        return found

    def _match(
        self, key: ProcessKey, names: Iterable[str], wanted: set[int], found: dict[int, tuple[ProcessKey, int]]
    ) -> int:
        count = 0
        for name in names:
            count += 1
            inode = self._inode(key.pid, name)
            if inode in wanted and inode not in found:
                found[inode] = (key, int(name))
        return count

    def _inode(self, pid: int, descriptor: str) -> int:
        """The socket behind a descriptor; 0 when it is none or gone."""
        try:
            target = self._tree.link(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            return 0
        number = target[8:-1]
        return int(number) if target.startswith("socket:[") and number.isdecimal() else 0


def _listener(socket: Socket, process: Process | None) -> Listener:
    return Listener(
        protocol=socket.protocol,
        family=socket.family,
        address=socket.local_address,
        port=socket.local_port,
        uid=socket.uid,
        inode=socket.inode,
        process=process.key if process else None,
        name=process.name if process else None,
        executable=process.executable if process else None,
    )
