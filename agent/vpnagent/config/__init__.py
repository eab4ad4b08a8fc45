"""The configuration: values, and the file they come from."""
