"""What each method of the bake-off takes for one network, beside the training of that network, in one run.

Run with ``python -m benchmarks.bake_off``; takes about 20 s. A pair of MNIST digits, 392–128–128–20, half of the
weights between its groups kept. Descriptions that several groupings share count for each.
"""

import time

from benchmarks._common import Row, report
from modutils import planted
from studies.bake_off import cells, methods


def main() -> None:
    """Measure and report."""
    setup = cells.SETUPS["mnist", 2]
    train = cells.samples("aligned", "mnist", "train", setup.samples, 2, 0)
    model = cells.plant("aligned", "mnist", 2, 0.5, 0).model
    start = time.process_time()
    planted.train(model, *train, epochs=setup.epochs, batch_size=setup.batch_size)
    training = time.process_time() - start
    net = methods.Net(
        planted.plain(model), train[0][: cells.DESCRIBED], train[1][: cells.DESCRIBED], train, setup.batch_size,
        images=2, heads=2, ks=(2, 2), seed=0,
    )  # fmt: skip
    methods.compete(net)  # numba compiles, and files are read
    _, seconds = methods.compete(net)
    rows = [
        Row(f"{name}, beside training", "CPU-s", training, own, 1)
        for name, own in seconds.items()
        if not name.startswith("random") and not name.endswith((", Q at k", ", tree"))
    ]
    report(
        "bake_off",
        rows,
        reference="one training of the network, 5 epochs",
        all_methods_in_one_run=sum(seconds.values()),
    )


if __name__ == "__main__":
    main()
