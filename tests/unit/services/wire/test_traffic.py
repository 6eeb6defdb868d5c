from services.wire.traffic import RETURNED_BYTES, TrafficCounts, both_ways, wire_bytes


def test_a_small_message_costs_one_prefix_one_frame_and_one_record():
    assert wire_bytes(151) == 151 + 5 + 9 + 22


def test_a_large_message_costs_a_frame_and_a_record_per_16_kib():
    assert wire_bytes(2**20) - 2**20 == 5 + 9 * 65 + 22 * 65
    assert 1.0018 < wire_bytes(2**20) / 2**20 < 1.0020


def test_each_message_costs_something_the_other_way():
    assert dict(both_ways("sent", 100)) == {"sent": wire_bytes(100), "received": RETURNED_BYTES}
    assert dict(both_ways("received", 0)) == {"received": wire_bytes(0), "sent": RETURNED_BYTES}


def test_a_tally_adds_by_direction_and_kind():
    tally = TrafficCounts()
    tally.message("sent", "update", 1000)
    tally.message("sent", "update", 1000)
    tally.message("received", "control", 10)
    tally.content("sent", "update", 4000)
    assert tally.wire("sent") == {"update": 2 * wire_bytes(1000), "control": RETURNED_BYTES}
    assert tally.wire("received") == {"update": 2 * RETURNED_BYTES, "control": wire_bytes(10)}
    assert (tally.float32("sent"), tally.float32("received")) == ({"update": 4000}, {})
