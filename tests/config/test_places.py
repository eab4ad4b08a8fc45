from tests.config_examples import make_config

from vpnagent.config.wording import connections, repeated, tunnels


def test_every_part_is_visited_with_its_path() -> None:
    config = make_config()

    assert [path for path, _ in connections(config)] == [("connections", 0)]
    assert [(place.path, place.tunnel.name) for place in tunnels(config)] == [
        (("connections", 0, "tunnels", 0), "primary"),
        (("connections", 0, "tunnels", 1), "backup"),
    ]
    assert next(tunnels(config)).key("name") == ("connections", 0, "tunnels", 0, "name")


def test_each_repetition_names_the_first() -> None:
    assert list(repeated(enumerate("abcaba"))) == [(3, "a", 0), (4, "b", 1), (5, "a", 0)]
