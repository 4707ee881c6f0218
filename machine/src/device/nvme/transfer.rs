//! A command's data: where it lies in memory, and moving it between there and the controller's buffer.

use hw::nvme::{Status, SubmissionEntry};

use super::engine::{End, Engine};
use super::prp::{Prp, PrpError};
use crate::bus::{BusRun, DmaError};

impl Engine {
    /// Finds where the `len_bytes` bytes of a command's data lie.
    pub(super) fn locate(&mut self, entry: &SubmissionEntry, len_bytes: u64) -> Result<(), End> {
        let page_bytes = self.shared.state.lock().registers.page_bytes();
        let prp = Prp {
            first: entry.prp1,
            second: entry.prp2,
            page_bytes,
        };
        let dma = self.port.dma();
        let rogue = &mut self.disk.rogue;
        let walked = prp.walk(len_bytes, &mut self.runs, |bus, into| {
            if let Some(rogue) = rogue {
                rogue.told(bus, into.len() as u64);
            }
            dma.read(bus, into)
        });
        walked.map_err(|error| match error {
            PrpError::Offset { entry } => {
                log::warn!("PRP entry {entry:#x} has an offset where none is allowed");
                Status::PrpOffsetInvalid
            }
            PrpError::List { bus, source } => {
                log::warn!("PRP list at {bus:#x}: {source}");
                Status::DataTransferError
            }
        })?;
        if let Some(rogue) = rogue {
            for run in &self.runs {
                rogue.told(run.bus, run.len_bytes);
            }
        }
        Ok(())
    }

    /// The first `len_bytes` bytes of the buffer, which grows to hold them.
    pub(super) fn buffer(&mut self, len_bytes: u64) -> &mut [u8] {
        let len = len_bytes as usize;
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        &mut self.buffer[..len]
    }

    /// Moves the first bytes of the buffer to where the located command wants them.
    pub(super) fn scatter(&self) -> Result<(), End> {
        let mut rest = &self.buffer[..];
        for run in &self.runs {
            let (piece, after) = rest.split_at(run.len_bytes as usize);
            rest = after;
            let written = self.port.dma().write(run.bus, piece);
            written.map_err(|error| failed(run, error))?;
        }
        Ok(())
    }

    /// Moves what the located command gives into the first bytes of the buffer.
    pub(super) fn gather(&mut self) -> Result<(), End> {
        let mut rest = &mut self.buffer[..];
        for run in &self.runs {
            let (piece, after) = rest.split_at_mut(run.len_bytes as usize);
            rest = after;
            let read = self.port.dma().read(run.bus, piece);
            read.map_err(|error| failed(run, error))?;
        }
        Ok(())
    }
}

fn failed(run: &BusRun, error: DmaError) -> End {
    log::warn!("data at bus {:#x}: {error}", run.bus);
    Status::DataTransferError.into()
}
