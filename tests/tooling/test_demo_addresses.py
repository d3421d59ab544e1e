"""Where the demo's parts listen."""

from __future__ import annotations

import socket

from demo import addresses


def test_a_usual_port_is_kept_while_it_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        free = listener.getsockname()[1]
    assert addresses.choose({"one": free}) == {"one": f"127.0.0.1:{free}"}


def test_a_taken_port_gives_way_to_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        chosen = addresses.port(addresses.choose({"one": taken})["one"])
        assert chosen != taken
        with socket.create_server(("127.0.0.1", chosen)):
            pass


def test_a_port_taken_on_every_interface_gives_way_too() -> None:
    with socket.create_server(("", 0)) as other:
        taken = other.getsockname()[1]
        assert addresses.port(addresses.choose({"one": taken})["one"]) != taken


def test_no_free_port_is_given_twice() -> None:
    chosen = addresses.choose({f"part {number}": 0 for number in range(50)})
    assert len(set(chosen.values())) == 50
    assert all(addresses.port(each) in addresses.FREE_PORTS for each in chosen.values())


def test_an_address_accepts_only_while_something_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert addresses.accepts(address)
    assert not addresses.accepts(address)
