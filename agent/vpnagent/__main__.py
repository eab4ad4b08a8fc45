"""Run the command line as ``python -m vpnagent``."""

from vpnagent.cli import main

if __name__ == "__main__":
    main()
