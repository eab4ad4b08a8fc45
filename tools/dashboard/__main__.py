"""``./dev dashboard``: write agent/vpnagent/dashboard/dashboard.json anew."""

from pathlib import Path

from tools.dashboard.board import text

COMMITTED = Path(__file__).parents[2] / "agent" / "vpnagent" / "dashboard" / "dashboard.json"

if __name__ == "__main__":
    COMMITTED.write_text(text(), encoding="utf-8")
