from services.observe.process_memory import resident_bytes


def test_what_is_written_to_memory_is_resident() -> None:
    before = resident_bytes()
    held = b"x" * 2**26
    assert resident_bytes() - before > len(held) // 2
