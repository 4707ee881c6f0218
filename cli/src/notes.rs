//! Notes under a table: reasons that are too long for it, each once.

use crate::output::Output;

/// Widest line.
const WIDTH: usize = 100;

/// The reasons so far.
#[derive(Default)]
pub(crate) struct Notes(Vec<String>);

impl Notes {
    /// The number of the note that says `text`.
    pub(crate) fn number(&mut self, text: String) -> usize {
        let known = self.0.iter().position(|known| *known == text);
        known.unwrap_or_else(|| {
            self.0.push(text);
            self.0.len() - 1
        }) + 1
    }

    /// Prints all of them.
    pub(crate) fn print(&self, output: &mut Output) {
        for (n, note) in self.0.iter().enumerate() {
            let number = format!("({}) ", n + 1);
            let indent = " ".repeat(number.len());
            let mut line = number;
            for word in note.split_whitespace() {
                if line.len() + 1 + word.len() > WIDTH && line.trim_start().contains(' ') {
                    output.line(line.trim_end());
                    line = indent.clone();
                }
                line += word;
                line.push(' ');
            }
            output.line(line.trim_end());
        }
    }
}
