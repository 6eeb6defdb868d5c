import mmap

from services.observe.process_memory import resident_bytes

NUM_BYTES = 2**26


def test_what_is_written_to_memory_is_resident() -> None:
    with mmap.mmap(-1, NUM_BYTES) as held:  # new: what was freed before may be resident already
        before = resident_bytes()
        for at in range(0, NUM_BYTES, mmap.PAGESIZE):
            held[at] = 1
        assert resident_bytes() - before > NUM_BYTES // 2
