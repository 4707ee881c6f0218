//! Where the program's words go: standard output, or nowhere under `--json` until the one object.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use crate::error::Error;

/// Lines for the user. Whoever reads them may stop reading (`dmamap iomem | head`): the job goes on.
pub(crate) struct Output {
    sink: Box<dyn Write>,
    /// What became of the first line that did not arrive. None is written after it.
    lost: Option<io::Error>,
}

impl Output {
    /// Lines go to standard output.
    pub(crate) fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// Lines go nowhere.
    pub(crate) fn silent() -> Self {
        Self::to(io::sink())
    }

    fn to(sink: impl Write + 'static) -> Self {
        Self {
            sink: Box::new(sink),
            lost: None,
        }
    }

    /// Writes one line (or several).
    pub(crate) fn line(&mut self, line: impl fmt::Display) {
        if self.lost.is_none() {
            let written = writeln!(self.sink, "{line}").and_then(|()| self.sink.flush());
            self.lost = written.err();
        }
    }

    /// Says whether all lines arrived, as far as somebody wanted them.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.lost {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::failed(format!("standard output: {error}")))
            }
            _ => Ok(()),
        }
    }
}
