"""Closed loops: so many clients, each with one call under way. Standard library alone: peers run it in their environments."""

import threading
import time


def run(act, count, clients):
    """Does `act(number)` for each number below `count`: seconds in all, those of each call that went well, errors by kind."""
    taken, failed, lock, numbers = [], {}, threading.Lock(), iter(range(count))

    def client():
        own, wrong = [], {}
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            begun = time.perf_counter()
            try:
                act(number)
                own.append(time.perf_counter() - begun)
            except Exception as error:  # noqa: BLE001 - whatever fails is counted
                kind = type(error).__name__
                wrong[kind] = wrong.get(kind, 0) + 1
        with lock:
            taken.extend(own)
            for kind, number in wrong.items():
                failed[kind] = failed.get(kind, 0) + number

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.perf_counter() - begun, "taken": sorted(taken), "failed": failed}
