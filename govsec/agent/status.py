"""How an agent is, in one table: for ``govsec agent status``, and in one line for systemd."""

from __future__ import annotations

from pydantic import JsonValue

from govsec.agent.life import Life, State
from govsec.agent.supervisor import Supervisor
from govsec.clock import Clock
from govsec.errors import GovsecError


def status_of(supervisor: Supervisor, clock: Clock) -> dict[str, JsonValue]:
    """Modules with state and use, the spool, what was found last; ``problems`` is empty when all is well."""
    now = clock.monotonic()
    modules: dict[str, JsonValue] = {name: _module(life, now) for name, life in supervisor.lives.items()}
    spool: dict[str, JsonValue] = {"waiting": len(supervisor.intake), "trouble": supervisor.intake.trouble}
    try:
        state = supervisor.intake.spool.state()
    except GovsecError as error:
        spool["trouble"] = supervisor.intake.trouble or str(error)
    else:
        spool |= {
            "epoch": state.epoch,
            "head_sequence": state.head_sequence,
            "acknowledged": state.acknowledged,
            "records": state.records_count,
            "size_bytes": state.size_bytes,
            "size_max_bytes": state.size_max_bytes,
            "lost": state.lost_count,
        }
    problems = [
        f"module {name} is {life.state.value}" + (f": {life.said}" if life.said else "")
        for name, life in supervisor.lives.items()
        if life.state in (State.WAITING, State.STOPPING)
    ]
    problems += [f"module {name} ends again and again" for name, life in supervisor.lives.items() if life.is_in_loop]
    if spool["trouble"]:
        problems.append(str(spool["trouble"]))
    running = sum(life.state in (State.RUNNING, State.THROTTLED) for life in supervisor.lives.values())
    words = f"{running} of {len(supervisor.lives)} modules run; {spool.get('records', '?')} records in the spool"
    return {
        "agent": supervisor.name,
        "uptime_s": round(now - supervisor.started_at, 1),
        "words": words + (f"; {problems[0]}"[:200] if problems else ""),
        "modules": modules,
        "spool": spool,
        "recent": list(supervisor.intake.recent),
        "problems": list(problems),
    }


def _module(life: Life, now: float) -> dict[str, JsonValue]:
    return {
        "state": life.state.value,
        "pid": life.pid,
        "running_s": round(now - life.started_at, 1) if life.pid else 0,
        "silent_s": round(now - life.heard_at, 1) if life.pid else 0,
        "cpu_s": round(life.cpu_before_s + life.usage.cpu_s, 2),
        "cpu_percent_max": life.spec.budget.cpu_percent_max,
        "memory_bytes": life.pss_bytes,
        "memory_max_bytes": life.spec.budget.memory_max_bytes,
        "throttled_s": round(life.throttled_s, 1),
        "findings": life.counts["findings"],
        "lost": life.counts["lost"],
        "left_out": _left_out(life),
        "restarts": dict(sorted(life.restarts.items())),
        "said": life.said,
    }


def _left_out(life: Life) -> dict[str, JsonValue]:
    """What the module itself says that it left out: its gauges ``…_left_out`` that are not zero, by their labels."""
    found: dict[str, JsonValue] = {}
    for metric in life.metrics.values():
        if metric.name.endswith("_left_out") and metric.value:
            found[" ".join(metric.labels.values())] = int(metric.value)
    return dict(sorted(found.items()))
