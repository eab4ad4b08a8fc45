"""The command line: parses, calls, prints, nothing else."""

import click


@click.group()
def main() -> None:
    """On-premises IPsec gateway agent for Alibaba Cloud."""
