"""The configuration in the words of others: the cloud's half for Terraform, ours for swanctl."""
