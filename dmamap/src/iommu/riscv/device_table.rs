//! The device directory (2.1): from a device id to its domain's table.
//!
//! A unit may read a context at any moment, and its words in any order. So a context that is valid changes only by
//! one 64-bit store, and where that is not enough it is made not valid first, the unit told and waited for; the word
//! with the valid bit is the last one written of a new one, and the first one of a context that goes (2.9).

use alloc::collections::BTreeMap;

use hw::riscv::directory::{
    ContextFormat, DeviceContext, DirectoryEntry, FirstStage, FirstStageMode, SecondStage,
    SecondStageMode, TranslationAttributes, TranslationControl,
};

use crate::frame::HardwareFrames;
use crate::iommu::translation::Translate;
use crate::iommu::unit::DomainId;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};
use crate::system::Stage;

/// Words of a context, by place.
const TC: usize = 0;
const IOHGATP: usize = 1;
const TA: usize = 2;
const FSC: usize = 3;

/// What became of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It was not valid before.
    Fresh,
    /// It was valid with the same domain id, and changed in one store.
    Replaced,
    /// It is valid with another domain id, which one store cannot change: left as it was.
    Occupied,
}

/// The context that has a device's requests translated as `translate` says, by `stage`.
///
/// The domain id stands in `ta` also where the first stage is bare and the unit does not look at it: so a context says
/// whose it is.
pub(super) fn context(stage: Stage, domain: DomainId, translate: Translate) -> DeviceContext {
    let mut context = DeviceContext {
        tc: TranslationControl::new().with_v(true),
        ta: TranslationAttributes::new().with_pscid(domain.0.into()),
        ..DeviceContext::default()
    };
    if let Translate::Table { root, levels } = translate {
        let levels = levels.into();
        match stage {
            Stage::First => {
                let mode = FirstStageMode::from_levels(levels).unwrap_or(FirstStageMode::Reserved);
                context.fsc = FirstStage::new().with_mode(mode).with_root(root.as_u64());
            }
            Stage::Second => {
                let mode =
                    SecondStageMode::from_levels(levels).unwrap_or(SecondStageMode::Reserved);
                context.iohgatp = SecondStage::new()
                    .with_mode(mode)
                    .with_gscid(domain.0)
                    .with_root(root.as_u64());
            }
        }
    }
    context
}

/// Tables below the root, by level, the lowest being 0, and the bits of the device id that lead there.
type Tables<P> = BTreeMap<(u32, u32), HardwareFrames<P>>;

/// The directory of one unit.
pub(super) struct DeviceTable<P: Platform> {
    platform: P,
    coherence: WalkCoherence,
    format: ContextFormat,
    levels: u32,
    root: HardwareFrames<P>,
    tables: lock_api::Mutex<P::Lock, Tables<P>>,
}

impl<P: Platform> DeviceTable<P> {
    /// A directory in which no context is valid, of one level as long as [`deepen`](Self::deepen) does not say another
    /// number.
    pub(super) fn new(
        platform: P,
        coherence: WalkCoherence,
        format: ContextFormat,
    ) -> Result<Self, OutOfFrames> {
        Ok(Self {
            platform,
            coherence,
            format,
            levels: 1,
            root: HardwareFrames::allocate(platform, 1, coherence)?,
            tables: lock_api::Mutex::new(BTreeMap::new()),
        })
    }

    /// Makes it one of `levels` levels, nothing being in it yet.
    pub(super) fn deepen(&mut self, levels: u32) {
        self.levels = levels;
    }

    /// Levels it has.
    pub(super) fn levels(&self) -> u32 {
        self.levels
    }

    /// The form of its contexts.
    pub(super) fn format(&self) -> ContextFormat {
        self.format
    }

    /// Physical address of the root table.
    pub(super) fn root_phys(&self) -> u64 {
        self.root.phys().as_u64()
    }

    /// Whether it has a place for the device id `stream`.
    pub(super) fn covers(&self, stream: u32) -> bool {
        stream >> self.format.device_id_bits(self.levels) == 0
    }

    /// Makes `context` that of `stream`, which is [covered](Self::covers).
    pub(super) fn write(
        &self,
        stream: u32,
        context: DeviceContext,
    ) -> Result<Written, OutOfFrames> {
        let mut tables = self.tables.lock();
        self.grow(&mut tables, stream)?;
        let table = self.leaf(&tables, stream).unwrap_or(&self.root);
        let first = self.first_word(stream);
        let words = context.to_words();
        let valid = TranslationControl::from_bits(table.load(first + TC)).v();
        if !valid {
            for (index, word) in words.iter().enumerate().take(self.words()).skip(TC + 1) {
                table.store(first + index, *word);
            }
            table.store(first + TC, words[TC]);
            return Ok(Written::Fresh);
        }
        let changed = [IOHGATP, FSC].map(|index| table.load(first + index) != words[index]);
        if table.load(first + TA) != words[TA] || changed == [true, true] {
            return Ok(Written::Occupied);
        }
        table.store(first + IOHGATP, words[IOHGATP]);
        table.store(first + FSC, words[FSC]);
        Ok(Written::Replaced)
    }

    /// Makes requests of `stream` fault; returns the domain it was in.
    pub(super) fn clear(&self, stream: u32) -> Option<DomainId> {
        if !self.covers(stream) {
            return None;
        }
        let tables = self.tables.lock();
        let table = self.leaf(&tables, stream)?;
        let first = self.first_word(stream);
        if !TranslationControl::from_bits(table.load(first + TC)).v() {
            return None;
        }
        let pscid = TranslationAttributes::from_bits(table.load(first + TA)).pscid();
        // The rest is ignored from then on.
        table.store(first + TC, 0);
        Some(DomainId(pscid as u16))
    }

    /// Links the tables that lead to `stream`.
    fn grow(&self, tables: &mut Tables<P>, stream: u32) -> Result<(), OutOfFrames> {
        for level in (0..self.levels - 1).rev() {
            let key = self.key(stream, level);
            if tables.contains_key(&key) {
                continue;
            }
            let table = HardwareFrames::allocate(self.platform, 1, self.coherence)?;
            let entry = DirectoryEntry::new()
                .with_v(true)
                .with_table(table.phys().as_u64());
            let above = tables.get(&self.key(stream, level + 1));
            above
                .unwrap_or(&self.root)
                .store(self.format.index(stream, level + 1), entry.into_bits());
            tables.insert(key, table);
        }
        Ok(())
    }

    /// The table of contexts that `stream` is in, if it is there.
    fn leaf<'a>(&'a self, tables: &'a Tables<P>, stream: u32) -> Option<&'a HardwareFrames<P>> {
        match self.levels {
            1 => Some(&self.root),
            _ => tables.get(&self.key(stream, 0)),
        }
    }

    /// What names the table of `level` below the root that leads to `stream`.
    fn key(&self, stream: u32, level: u32) -> (u32, u32) {
        (level, stream >> self.format.device_id_bits(level + 1))
    }

    fn words(&self) -> usize {
        (self.format.context_bytes() / 8) as usize
    }

    fn first_word(&self, stream: u32) -> usize {
        self.format.index(stream, 0) * self.words()
    }

    /// Gives the directory back.
    ///
    /// # Safety
    /// The unit no longer walks it.
    pub(super) unsafe fn free(self) {
        for table in self.tables.into_inner().into_values() {
            // SAFETY: the caller vouches that the unit has let go.
            unsafe { table.free() };
        }
        // SAFETY: as above.
        unsafe { self.root.free() };
    }
}
