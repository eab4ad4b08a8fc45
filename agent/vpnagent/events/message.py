"""Events as a message that people read, in English or Chinese. Pure.

Of several events each is a line; what a service has no room for is counted in the last one.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from vpnagent.config.values import HookLanguage
from vpnagent.events.event import Event
from vpnagent.finding import EventType, Severity
from vpnagent.status.document import rfc3339

_TITLES: Final[Mapping[EventType, str]] = {
    EventType.CERTIFICATE_EXPIRY: "证书即将到期",
    EventType.ALL_TUNNELS_FAILED_TO_NEGOTIATE: "IPsec 连接的所有隧道协商失败",
    EventType.TUNNEL_NEGOTIATION_FAILED: "IPsec 隧道协商失败",
    EventType.HEALTH_CHECK_FAILED: "健康检查失败",
    EventType.CONNECTION_HEALTH_CHECK_FAILED: "VPN 连接健康检查失败",
    EventType.FAILOVER: "流量切换",
    EventType.FAIL_BACK: "流量回切",
    EventType.TUNNEL_UP: "隧道恢复",
    EventType.TUNNEL_DEGRADED: "隧道质量下降",
    EventType.TUNNEL_DOWN: "隧道中断",
    EventType.TUNNEL_DRAINED: "隧道已排空",
    EventType.TUNNEL_UNDRAINED: "隧道取消排空",
    EventType.DRIFT_REPAIRED: "内核对象被改动,已修复",
    EventType.CONFIGURATION_CHANGED: "配置已变更",
    EventType.CONFIGURATION_REFUSED: "配置被拒绝",
    EventType.CONFIGURATION_TAKEN_BACK: "配置已回退",
    EventType.CHARON_GONE: "charon 无响应",
    EventType.CHARON_BACK: "charon 恢复响应",
    EventType.PROBER_RESTARTED: "探测进程已重启",
    EventType.DAEMON_STARTED: "守护进程已启动",
    EventType.DAEMON_STOPPED: "守护进程已停止",
    EventType.WARNING_BEGAN: "告警开始",
    EventType.WARNING_ENDED: "告警结束",
    EventType.EVENTS_SUPPRESSED: "部分事件被抑制",
    EventType.HOOK_TEST: "通知测试",
}
_SEVERITIES: Final[Mapping[Severity, str]] = {
    Severity.INFO: "信息",
    Severity.WARNING: "警告",
    Severity.CRITICAL: "严重",
}
_ROOM_FOR_THE_COUNT: Final = 200  #: bytes


def subject(events: Sequence[Event], gateway: str, language: HookLanguage) -> str:
    """Return the heading: one event by name, several by number and by the worst of them."""
    chinese = language is HookLanguage.CHINESE
    worst = max((event.severity for event in events), key=list(Severity).index)
    severity = _SEVERITIES[worst] if chinese else worst.value
    if len(events) == 1:
        [event] = events
        title = _TITLES[event.type] if chinese else event.type.title
        what = f"{title} {event.subject}".rstrip()
    else:
        what = f"{len(events)} 个事件" if chinese else f"{len(events)} events"
    return f"[{severity}] {gateway}: {what}"


def text(events: Sequence[Event], gateway: str, language: HookLanguage, longest: int) -> str:
    """Return the whole message, at most ``longest`` bytes of UTF-8."""
    heading = subject(events, gateway, language)
    if len(events) == 1:
        [event] = events
        return _cut(f"{heading}\n{event.text}\n{rfc3339(event.at)}", longest)
    lines, left = [heading], longest - len(heading.encode()) - _ROOM_FOR_THE_COUNT
    for event in events:
        line = _line(event, language)
        left -= len(line.encode()) + 1
        if left < 0:
            break
        lines.append(line)
    if missing := len(events) + 1 - len(lines):
        lines.append(_rest(missing, language))
    return _cut("\n".join(lines), longest)


def _line(event: Event, language: HookLanguage) -> str:
    chinese = language is HookLanguage.CHINESE
    severity = _SEVERITIES[event.severity] if chinese else event.severity.value
    title = _TITLES[event.type] if chinese else event.type.title
    return f"{rfc3339(event.at)} [{severity}] {title}: {event.text}"


def _rest(count: int, language: HookLanguage) -> str:
    if language is HookLanguage.CHINESE:
        return f"另有 {count} 个事件未列出,请运行 vpnagent events --since 1h 查看"
    return f"{count} more events have no room here: vpnagent events --since 1h shows them"


def _cut(whole: str, longest: int) -> str:
    """Return at most ``longest`` bytes of a text, never half a character."""
    return whole.encode()[:longest].decode(errors="ignore")
