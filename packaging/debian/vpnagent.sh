#!/usr/lib/vpnagent/bin/python -I
from vpnagent.cli import main

main()
