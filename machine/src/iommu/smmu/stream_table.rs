//! From a stream id to its stream table entry, in memory (3.3).

use hw::smmu::context::{self, ContextDescriptor};
use hw::smmu::event::EventKind;
use hw::smmu::regs::{StreamTableConfig, StreamTableFormat};
use hw::smmu::stream::{self, Level1Descriptor, Ste0, StreamTableEntry};

use super::entries::ConfigFault;
use crate::iommu::table_memory::TableMemory;

/// The stream table that the registers tell of, while the unit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamTable {
    pub(super) base: u64,
    /// Bits of a stream id that it covers.
    pub(super) log2size: u32,
    /// Of one with two levels, bits that index the second.
    pub(super) split: Option<u32>,
    /// Streams outside it are recorded (`CR2.RECINVSID`).
    pub(super) records_bad_streams: bool,
}

fn fault(kind: EventKind, at: u64, word: u64) -> ConfigFault {
    ConfigFault { kind, at, word }
}

impl StreamTable {
    /// The table that `base` and `config` describe, on a unit with stream ids of `stream_bits`; `None` where the
    /// manual has no such table.
    pub(super) fn new(
        base: u64,
        config: StreamTableConfig,
        stream_bits: u32,
        records_bad_streams: bool,
    ) -> Option<Self> {
        let log2size = u32::from(config.log2size());
        let split = match config.fmt() {
            StreamTableFormat::Linear => None,
            StreamTableFormat::TwoLevel => Some(u32::from(config.split())),
            StreamTableFormat::Reserved => return None,
        };
        if log2size > stream_bits || split.is_some_and(|split| !matches!(split, 6 | 8 | 10)) {
            return None;
        }
        let table = Self {
            base,
            log2size,
            split,
            records_bad_streams,
        };
        base.is_multiple_of(table.len_bytes().max(stream::ENTRY_BYTES))
            .then_some(table)
    }

    /// Bytes of the table, or of its first level.
    pub(super) fn len_bytes(self) -> u64 {
        match self.split {
            None => stream::ENTRY_BYTES << self.log2size,
            Some(split) => stream::LEVEL1_BYTES << self.log2size.saturating_sub(split),
        }
    }

    /// Checks that `stream` is covered.
    pub(super) fn check(self, stream: u32) -> Result<(), ConfigFault> {
        if u64::from(stream) >> self.log2size != 0 {
            return Err(fault(EventKind::BadStreamId, 0, 0));
        }
        Ok(())
    }

    /// Where the first level's descriptor of `index` is.
    pub(super) fn level1_at(self, index: u32) -> u64 {
        self.base + u64::from(index) * stream::LEVEL1_BYTES
    }

    /// Where the entry of `stream` is, by the descriptor `level1` of a table with two levels.
    pub(super) fn entry_at(
        self,
        stream: u32,
        level1: Option<Level1Descriptor>,
    ) -> Result<u64, ConfigFault> {
        let (Some(split), Some(level1)) = (self.split, level1) else {
            return Ok(self.base + u64::from(stream) * stream::ENTRY_BYTES);
        };
        let index = stream & ((1 << split) - 1);
        // An array longer than what the split leaves room for is none (5.1).
        let entries = match level1.span() {
            span if u32::from(span) > split + 1 => 0,
            _ => level1.entries(),
        };
        if index >= entries {
            return Err(fault(EventKind::BadStreamId, 0, level1.into_bits()));
        }
        Ok(level1.l2ptr() + u64::from(index) * stream::ENTRY_BYTES)
    }
}

/// Fetches the first level's descriptor at `at`.
pub(super) fn load_level1(memory: &TableMemory, at: u64) -> Result<Level1Descriptor, ConfigFault> {
    memory
        .entry(at)
        .map(Level1Descriptor::from_bits)
        .map_err(|_| fault(EventKind::SteFetch, at, 0))
}

/// Fetches the stream table entry at `at`: eight words, each at once, and the first of them last, as hardware may.
pub(super) fn load_entry(memory: &TableMemory, at: u64) -> Result<StreamTableEntry, ConfigFault> {
    let words = load_words(memory, at).ok_or(fault(EventKind::SteFetch, at, 0))?;
    Ok(StreamTableEntry::from_words(words))
}

/// As [`load_entry`]; nothing, quickly, where it is not valid.
pub(super) fn load_valid(
    memory: &TableMemory,
    at: u64,
) -> Result<Option<StreamTableEntry>, ConfigFault> {
    match memory.entry(at) {
        Ok(word) if !Ste0::from_bits(word).v() => Ok(None),
        _ => load_entry(memory, at).map(Some),
    }
}

/// Fetches the context descriptor at physical address `at`.
pub(super) fn load_context(
    memory: &TableMemory,
    at: u64,
) -> Result<ContextDescriptor, ConfigFault> {
    let words = load_words(memory, at).ok_or(fault(EventKind::CdFetch, at, 0))?;
    Ok(ContextDescriptor::from_words(words))
}

fn load_words(memory: &TableMemory, at: u64) -> Option<[u64; context::DESCRIPTOR_WORDS]> {
    let mut words = [0; context::DESCRIPTOR_WORDS];
    for (index, word) in words.iter_mut().enumerate().rev() {
        *word = memory.entry(at + index as u64 * 8).ok()?;
    }
    Some(words)
}
