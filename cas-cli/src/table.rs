//! Columns: a line of headings, then a line per row, two spaces between, the same on a terminal and in a pipe.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// Lays out rows. Columns whose heading ends in `>` are aligned to the right.
pub fn lines(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.trim_end_matches('>')));
    rows.into_iter().for_each(|row| _ = table.add_row(row));
    let last = headings.len().saturating_sub(1);
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if place == last { 0 } else { 2 }));
        if headings[place].ends_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_script() {
        let rows =
            [["名".to_owned(), "5".to_owned(), String::new()], ["ab".to_owned(), "12".to_owned(), "x".to_owned()]];
        let shown = lines(&["NAME", "SIZE>", "TAGS"], rows.map(|row| row.to_vec()));
        assert_eq!(shown, ["NAME  SIZE  TAGS", "名       5", "ab      12  x"]);
    }
}
