"""The configuration: frozen values, and the way to them from a YAML file.

A file passes four steps: positions (which line holds which key), draft (is each key of its kind), build
(frozen values with every default), rules (do the values fit together). All errors are reported at once,
with line, key, rule and value. Other rooms see the values only.

I/O is done by ``load``, which reads the file, and by ``files``, which reads keys and certificates; all else
is pure. Begin with ``values``; a key's kind, default and description are in ``file_models``.
"""
