//! Stream table and context descriptors (3.3, 5.1 to 5.4): from a stream to its domain's table.
//!
//! An entry has 512 bits, of which the unit reads 64 at once and at any moment, and remembers what it read. So an
//! entry becomes valid by its first word, stored last, and a valid one changes in one word only, or not at all:
//! then it must be cleared, and the clearing synchronised, before it is written anew (3.21.3.1).
//!
//! Words that a valid entry does not use may change before the one that makes it use them, but the unit must
//! have forgotten, in between, what it may have read of them.
//!
//! Streams come in blocks of 64: a frame of entries where the table has two levels, and a frame of context descriptors
//! where stage 1 translates, both made when the first of the block is attached.

use alloc::boxed::Box;

use hw::smmu::context::{ContextDescriptor, DESCRIPTOR_BYTES, DESCRIPTOR_WORDS};
use hw::smmu::regs::{StreamTableBase, StreamTableConfig, StreamTableFormat};
use hw::smmu::stream::{
    Config, ENTRY_BYTES, ENTRY_WORDS, LEVEL1_BYTES, Level1Descriptor, Ste0, Ste1, Ste2, Ste3,
    StreamTableEntry, cacheability, shareability,
};

use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2};
use crate::frame::HardwareFrames;
use crate::pagetable::WalkCoherence;
use crate::platform::{FrameRequest, OutOfFrames, Platform};

/// log2 of the streams in a block: as many entries as a frame holds.
const SPLIT: u32 = 6;

/// The widest stream ids a table is made for.
pub(super) const MAX_STREAM_BITS: u32 = 20;

/// `SHCFG`: requests keep their own shareability.
const SHARE_AS_INCOMING: u8 = 1;

/// What becomes of a stream's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// They pass.
    Bypass,
    /// Stage 1 translates them.
    Stage1(ContextDescriptor),
    /// Stage 2 translates them.
    Stage2(Ste2, Ste3),
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It was not valid before.
    Fresh,
    /// It was valid, and changed in one store or not at all.
    Replaced,
    /// It is valid, and what it does not use yet was changed: the unit must be told, and the entry written again.
    Prepared,
    /// It is valid and differs in more than one store can change: left as it was.
    Occupied,
}

/// The shapes of a stream table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Levels {
    /// Entries.
    One,
    /// Descriptors of blocks of entries.
    Two,
}

/// Memory of the streams of one block.
struct Block<P: Platform> {
    /// Of a table with two levels.
    entries: Option<HardwareFrames<P>>,
    contexts: Option<HardwareFrames<P>>,
}

/// The tables of one unit.
pub(super) struct DeviceTable<P: Platform> {
    platform: P,
    coherence: WalkCoherence,
    levels: Levels,
    /// Bits of a stream id that the table covers.
    log2size: u32,
    /// Entries, or descriptors of blocks.
    top: HardwareFrames<P>,
    blocks: lock_api::Mutex<P::Lock, Box<[Block<P>]>>,
}

impl<P: Platform> DeviceTable<P> {
    /// A table for stream ids of `log2size` bits, [`MAX_STREAM_BITS`] at most, in which no entry is valid.
    pub(super) fn new(
        platform: P,
        levels: Levels,
        log2size: u32,
        coherence: WalkCoherence,
    ) -> Result<Self, OutOfFrames> {
        let log2size = log2size.clamp(SPLIT, MAX_STREAM_BITS);
        let len_bytes = match levels {
            Levels::One => ENTRY_BYTES << log2size,
            Levels::Two => LEVEL1_BYTES << (log2size - SPLIT),
        };
        // Aligned to its size (6.3.23).
        let request = FrameRequest {
            align_log2: len_bytes.ilog2().max(FRAME_SIZE_LOG2),
            ..FrameRequest::new(len_bytes.div_ceil(FRAME_BYTES) as usize)
        };
        let no_block = |_| Block {
            entries: None,
            contexts: None,
        };
        Ok(Self {
            platform,
            coherence,
            levels,
            log2size,
            top: HardwareFrames::allocate_as(platform, request, coherence, |_| 0)?,
            blocks: lock_api::Mutex::new((0..1 << (log2size - SPLIT)).map(no_block).collect()),
        })
    }

    /// What STRTAB_BASE is set to.
    pub(super) fn base(&self) -> StreamTableBase {
        StreamTableBase::new()
            .with_addr(self.top.phys().as_u64())
            .with_ra(true)
    }

    /// What STRTAB_BASE_CFG is set to.
    pub(super) fn config(&self) -> StreamTableConfig {
        let config = StreamTableConfig::new().with_log2size(self.log2size as u8);
        match self.levels {
            Levels::One => config.with_fmt(StreamTableFormat::Linear),
            Levels::Two => config
                .with_fmt(StreamTableFormat::TwoLevel)
                .with_split(SPLIT as u8),
        }
    }

    /// Whether the table covers `stream`.
    pub(super) fn covers(&self, stream: u32) -> bool {
        u64::from(stream) >> self.log2size == 0
    }

    /// Sends `stream`, which the table [covers](Self::covers), the way of `route`. Whatever became of the entry, but
    /// for [`Written::Occupied`], the unit must be told.
    pub(super) fn write(&self, stream: u32, route: Route) -> Result<Written, OutOfFrames> {
        let mut blocks = self.blocks.lock();
        let block = &mut blocks[(stream >> SPLIT) as usize];
        if self.levels == Levels::Two && block.entries.is_none() {
            block.entries = Some(self.new_entries(stream >> SPLIT)?);
        }
        let context = match route {
            Route::Stage1(descriptor) => {
                let frames = match &mut block.contexts {
                    Some(contexts) => contexts,
                    absent => {
                        debug_assert_eq!(DESCRIPTOR_BYTES << SPLIT, FRAME_BYTES);
                        let frames = HardwareFrames::allocate(self.platform, 1, self.coherence)?;
                        absent.insert(frames)
                    }
                };
                Some(Context {
                    frames,
                    first: in_block(stream) * DESCRIPTOR_WORDS,
                    words: descriptor.to_words(),
                })
            }
            Route::Bypass | Route::Stage2(..) => None,
        };
        let (entries, first) = place(&self.top, &block.entries, stream);
        let now: [u64; ENTRY_WORDS] = core::array::from_fn(|n| entries.load(first + n));
        let wanted = self.entry(now, route, context.as_ref().map(Context::phys));

        let word0 = Ste0::from_bits(now[0]);
        if word0.v() {
            // What the unit may be reading: the entry, and the descriptor that it leads to.
            let used = used_words(word0.config());
            let changed = |n: &usize| now[*n] != wanted[*n];
            let mut changes = (0..used).filter(changed).count();
            if word0.config().translates_stage1() {
                changes += context.as_ref().map_or(0, Context::changes);
            }
            if changes > 1 {
                return Ok(Written::Occupied);
            }
            let mut unused = (used..ENTRY_WORDS).filter(changed).peekable();
            if changes == 1 && unused.peek().is_some() {
                for n in unused {
                    entries.store(first + n, wanted[n]);
                }
                return Ok(Written::Prepared);
            }
        }
        if let Some(context) = context {
            context.store();
        }
        // The word that makes the entry valid comes last.
        for n in (0..ENTRY_WORDS).rev() {
            if now[n] != wanted[n] {
                entries.store(first + n, wanted[n]);
            }
        }
        Ok(if word0.v() {
            Written::Replaced
        } else {
            Written::Fresh
        })
    }

    /// Makes requests of `stream` fault.
    pub(super) fn clear(&self, stream: u32) {
        let blocks = self.blocks.lock();
        if let Some(block) = blocks.get((stream >> SPLIT) as usize)
            && (self.levels == Levels::One || block.entries.is_some())
        {
            // Not valid first; the rest is ignored from then on.
            let (entries, first) = place(&self.top, &block.entries, stream);
            entries.store(first, 0);
        }
    }

    /// A block of entries, none of them valid, linked.
    fn new_entries(&self, block: u32) -> Result<HardwareFrames<P>, OutOfFrames> {
        debug_assert_eq!(ENTRY_BYTES << SPLIT, FRAME_BYTES);
        let entries = HardwareFrames::allocate(self.platform, 1, self.coherence)?;
        let descriptor = Level1Descriptor::new()
            .with_span(SPLIT as u8 + 1)
            .with_l2ptr(entries.phys().as_u64());
        self.top.store(block as usize, descriptor.into_bits());
        Ok(entries)
    }

    /// The words of an entry that goes the way of `route`, its context descriptor at `context`, and is `now` something
    /// else: words that `route` does not look at stay.
    fn entry(
        &self,
        now: [u64; ENTRY_WORDS],
        route: Route,
        context: Option<u64>,
    ) -> [u64; ENTRY_WORDS] {
        let now = StreamTableEntry::from_words(now);
        let word0 = Ste0::new().with_v(true);
        let (cacheable, share) = match self.coherence {
            WalkCoherence::Snooped => (cacheability::WRITE_BACK, shareability::INNER_SHAREABLE),
            WalkCoherence::NotSnooped => {
                (cacheability::NON_CACHEABLE, shareability::OUTER_SHAREABLE)
            }
        };
        let word1 = Ste1::new()
            .with_s1cir(cacheable)
            .with_s1cor(cacheable)
            .with_s1csh(share)
            .with_shcfg(SHARE_AS_INCOMING);
        let (word0, word2, word3) = match route {
            Route::Bypass => (word0.with_config(Config::Bypass), now.word2, now.word3),
            Route::Stage1(_) => (
                word0
                    .with_config(Config::Stage1)
                    .with_s1_context_ptr(context.expect("stage 1 has a context descriptor")),
                // Of stage 2, stage 1 uses the VMID.
                now.word2.with_s2vmid(0),
                now.word3,
            ),
            Route::Stage2(word2, word3) => (word0.with_config(Config::Stage2), word2, word3),
        };
        StreamTableEntry {
            word0,
            word1,
            word2,
            word3,
            rest: now.rest,
        }
        .to_words()
    }

    /// Gives the tables back.
    ///
    /// # Safety
    /// The unit no longer reads them.
    pub(super) unsafe fn free(self) {
        for block in self.blocks.into_inner() {
            for frames in [block.entries, block.contexts].into_iter().flatten() {
                // SAFETY: the caller vouches that the unit has let go.
                unsafe { frames.free() };
            }
        }
        // SAFETY: as above.
        unsafe { self.top.free() };
    }
}

/// A context descriptor to be written.
struct Context<'a, P: Platform> {
    frames: &'a HardwareFrames<P>,
    /// Its first word there.
    first: usize,
    words: [u64; DESCRIPTOR_WORDS],
}

impl<P: Platform> Context<'_, P> {
    fn phys(&self) -> u64 {
        self.frames.phys().as_u64() + self.first as u64 * 8
    }

    /// How many of its words are to change.
    fn changes(&self) -> usize {
        let words = self.words.iter().enumerate();
        words
            .filter(|(n, word)| self.frames.load(self.first + n) != **word)
            .count()
    }

    fn store(&self) {
        for (n, word) in self.words.into_iter().enumerate() {
            if self.frames.load(self.first + n) != word {
                self.frames.store(self.first + n, word);
            }
        }
    }
}

/// How many of its first words a valid entry uses.
fn used_words(config: Config) -> usize {
    match config {
        // Stage 1 uses stage 2's VMID.
        Config::Stage1 => 3,
        Config::Stage2 | Config::Nested => 4,
        Config::Abort
        | Config::Reserved1
        | Config::Reserved2
        | Config::Reserved3
        | Config::Bypass => 2,
    }
}

/// Which of its block `stream` is.
fn in_block(stream: u32) -> usize {
    stream as usize & ((1 << SPLIT) - 1)
}

/// Where the entry of `stream` is: in which frames, and which is its first word.
fn place<'a, P: Platform>(
    top: &'a HardwareFrames<P>,
    block: &'a Option<HardwareFrames<P>>,
    stream: u32,
) -> (&'a HardwareFrames<P>, usize) {
    match block {
        Some(entries) => (entries, in_block(stream) * ENTRY_WORDS),
        None => (top, stream as usize * ENTRY_WORDS),
    }
}
