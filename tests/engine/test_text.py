from schedulers.engine.text import table


def test_columns_are_as_wide_as_their_widest_cell():
    lines = [["name", "1", "22"], ["a", "333", "4"], ["b"]]
    assert table(lines) == ["name    1  22", "   a  333   4", "   b"]
    assert table(lines, names=True) == ["name    1  22", "a     333   4", "b   "]
