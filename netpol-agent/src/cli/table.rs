//! Tables without borders.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::NOTHING};

/// How a column is aligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    Left,
    /// For numbers.
    Right,
}

/// A table with a line of headings; every line ends with a line break. Without rows there is no table, only `nothing`.
pub(super) fn table<const N: usize>(
    headings: [(&str, Align); N],
    rows: impl IntoIterator<Item = [String; N]>,
    nothing: &str,
) -> String {
    let mut table = Table::new();
    // Lines are left as long as they are: a terminal wraps them, and a pipe has no width.
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.map(|(name, _)| name));
    table.add_rows(rows);
    if table.is_empty() {
        return format!("{nothing}\n");
    }
    for (column, (_, align)) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if align == Align::Right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
