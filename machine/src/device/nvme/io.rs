//! I/O commands: read, write, flush.

use hw::nvme::command::{ReadWriteDword12, io_opcode};
use hw::nvme::{Status, SubmissionEntry};

use super::admin::NAMESPACE_ID;
use super::backing::{BLOCK_BYTES, BackingError};
use super::engine::{End, Engine};
use super::queue::Phase;
use super::shared::WriteCache;
use super::statistics::count;
use super::window::Command;
use crate::bus::Access;

/// Which blocks a command names.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    first: u64,
    count: u64,
}

impl Engine {
    /// Executes a command and posts its completion, or what this disk posts instead of it.
    pub(super) fn io_command(&mut self, command: &Command) {
        let result = self.io(command);
        let faults = self.disk.misbehaviour.clone();
        if !faults.delay.is_zero() {
            self.shared.pause(faults.delay);
        }
        let (queue, id) = (command.queue, command.dword0().cid());
        let this = Some(command.number);
        if faults.never_complete == this {
            return self.finish(command, Err(End::Never));
        }
        if faults.wrong_phase_at == this {
            self.finish(command, Err(End::Never));
            return self.post(queue, id, Ok(0), Phase::inverted);
        }
        self.finish(command, result);
        if faults.complete_twice_at == this {
            self.complete(queue, id, Ok(0));
        }
        if faults.unknown_command_at == this {
            self.complete(queue, !id, Ok(0));
        }
    }

    fn io(&mut self, command: &Command) -> Result<u32, End> {
        if self.disk.misbehaviour.fatal_at == Some(command.number) {
            return Err(End::Fatal);
        }
        let (dword0, entry) = (command.dword0(), &command.entry);
        if dword0.fuse() != 0 || dword0.psdt() != 0 {
            return Err(Status::InvalidField.into());
        }
        match dword0.opc() {
            io_opcode::READ => self.read(self.blocks(entry)?, entry)?,
            io_opcode::WRITE => self.write(self.blocks(entry)?, entry)?,
            // All ones means every namespace.
            io_opcode::FLUSH if [NAMESPACE_ID, u32::MAX].contains(&entry.nsid) => self.flush()?,
            io_opcode::FLUSH => return Err(Status::InvalidNamespace.into()),
            _ => return Err(Status::InvalidOpcode.into()),
        }
        Ok(0)
    }

    /// The blocks a read or write names, if they exist.
    fn blocks(&self, entry: &SubmissionEntry) -> Result<Blocks, End> {
        if entry.nsid != NAMESPACE_ID {
            return Err(Status::InvalidNamespace.into());
        }
        let first = u64::from(entry.cdw10) | u64::from(entry.cdw11) << 32;
        let count = u64::from(ReadWriteDword12::from_bits(entry.cdw12).nlb()) + 1;
        // MDTS counts pages of the smallest size (CAP.MPSMIN).
        if count * BLOCK_BYTES > 4096 << self.disk.max_transfer_pages_log2 {
            return Err(Status::InvalidField.into());
        }
        match first.checked_add(count) {
            Some(end) if end <= self.disk.backing.blocks() => Ok(Blocks { first, count }),
            _ => Err(Status::LbaOutOfRange.into()),
        }
    }

    fn read(&mut self, blocks: Blocks, entry: &SubmissionEntry) -> Result<(), End> {
        let len_bytes = blocks.count * BLOCK_BYTES;
        self.locate(entry, len_bytes)?;
        self.strike(Access::Write);
        if self.is_broken(blocks) {
            return Err(Status::UnrecoveredReadError.into());
        }
        self.buffer(len_bytes);
        let data = &mut self.buffer[..len_bytes as usize];
        self.disk
            .backing
            .read(blocks.first, data)
            .map_err(backing_failed)?;
        if let Some(byte) = self.disk.misbehaviour.flip_bit_of_byte
            && let Some(byte) = byte.checked_sub(self.read_bytes)
            && byte < len_bytes
        {
            data[byte as usize] ^= 1;
        }
        self.scatter()?;
        self.read_bytes += len_bytes;
        count(&self.shared.counters.bytes_read, len_bytes);
        Ok(())
    }

    fn write(&mut self, blocks: Blocks, entry: &SubmissionEntry) -> Result<(), End> {
        let len_bytes = blocks.count * BLOCK_BYTES;
        self.locate(entry, len_bytes)?;
        self.strike(Access::Read);
        self.buffer(len_bytes);
        self.gather()?;
        if self.is_broken(blocks) {
            return Err(Status::WriteFault.into());
        }
        self.disk
            .backing
            .write(blocks.first, &self.buffer[..len_bytes as usize])
            .map_err(backing_failed)?;
        count(&self.shared.counters.bytes_written, len_bytes);
        let write_cache = self.shared.state.lock().features.write_cache;
        if write_cache == WriteCache::Off || ReadWriteDword12::from_bits(entry.cdw12).fua() {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), End> {
        self.disk.backing.flush().map_err(backing_failed)
    }

    fn is_broken(&self, blocks: Blocks) -> bool {
        let broken = self.disk.misbehaviour.broken_block;
        broken.is_some_and(|block| block >= blocks.first && block - blocks.first < blocks.count)
    }

    /// A rogue disk's chance while the command's data pages are mapped for `allowed`.
    fn strike(&mut self, allowed: Access) {
        if let Some(rogue) = &mut self.disk.rogue {
            rogue.strike(self.port.dma(), allowed, &self.runs, &self.shared.counters);
        }
    }
}

/// The status that tells an error of the file.
fn backing_failed(error: BackingError) -> End {
    // The command fails with a status that says less; there may be a queue full of them.
    log::warn!("{error}");
    let status = match error {
        BackingError::Shrank { .. } | BackingError::Read { .. } => Status::UnrecoveredReadError,
        BackingError::Write { .. } | BackingError::Flush(_) => Status::WriteFault,
        BackingError::Full { .. } => Status::CapacityExceeded,
        BackingError::ReadOnly => Status::AccessDenied,
    };
    status.into()
}
