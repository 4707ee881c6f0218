//! Where the program's words go: standard output, or nowhere under `--json` until the one object.

use std::fmt;
use std::io::{self, Write};

/// Lines for the user. Whoever reads them may stop reading (`dmamap iomem | head`): the job goes on.
pub(crate) struct Output {
    sink: Box<dyn Write>,
    open: bool,
}

impl Output {
    /// Lines go to standard output.
    pub(crate) fn stdout() -> Self {
        Self { sink: Box::new(io::stdout()), open: true }
    }

    /// Lines go nowhere.
    pub(crate) fn silent() -> Self {
        Self { sink: Box::new(io::sink()), open: true }
    }

    /// Writes one line (or several).
    pub(crate) fn line(&mut self, line: impl fmt::Display) {
        if self.open && writeln!(self.sink, "{line}").and_then(|()| self.sink.flush()).is_err() {
            self.open = false;
        }
    }
}
