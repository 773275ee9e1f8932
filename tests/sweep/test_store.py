"""The store: what is read back."""

from pathlib import Path

import pandas as pd

from bench.sweep.store import Store


def test_cells_of_the_same_columns_are_one_table_and_name_their_cells(tmp_path: Path) -> None:
    store = Store(tmp_path)
    errors = {"mse": [1.0, 2.0]}, {"mpjpe": [3.0]}, {"mse": [4.0]}
    for number, values in enumerate(errors):
        store.save_cell(str(number), pd.DataFrame(values))
    first, second = store.load_cells(["0", "1", "2"])
    assert first[0]["mse"].tolist() == [1.0, 2.0, 4.0]
    assert first[1].tolist() == [0, 0, 2]
    assert second[0]["mpjpe"].tolist() == [3.0]
    assert second[1].tolist() == [1]
