"""The cloud's own documents of an IPsec connection, and the configuration that they ask for. Pure."""
