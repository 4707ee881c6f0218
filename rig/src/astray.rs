//! A board on which flushes can be made to go astray: as the driver hands commands to a unit, those that flush
//! translations are changed to name a domain that nobody has. So a test can leave a flush out without the driver's
//! help, and see what the hardware remembers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use board::between::Between;
use board::hardware::{Hardware, Width};
use firmware::{IommuDescription, UnitKind, UnitPlace};
use parking_lot::Mutex;

/// A domain id that no driver has come to: ids are given from 1 on.
const NOBODYS: u64 = 0x7ffe;

/// Where a kind of unit has its queue, and which of its commands flush translations.
struct QueueOfKind {
    /// Offset of the register that tells the unit of new commands.
    tail: u64,
    tail_width: Width,
    /// Offset of the register that says where the queue lies.
    base: u64,
    /// Physical address and bytes of an entry, and number of entries, by that register.
    shape: fn(base: u64) -> Shape,
    /// Index of an entry by what is written to the tail register.
    index: fn(tail: u64, shape: &Shape) -> u64,
    /// The first word of a command that flushes translations, gone astray; `None` for other commands.
    astray: fn(word: u64) -> Option<u64>,
}

struct Shape {
    phys: u64,
    entry_bytes: u64,
    entries: u64,
}

/// Replaces `bits` of `word`, from bit `at` on.
fn with(word: u64, at: u32, bits: u32, value: u64) -> u64 {
    let mask = ((1 << bits) - 1) << at;
    word & !mask | value << at & mask
}

/// VT-d: IQA_REG, IQT_REG (11.4.8); IOTLB and PASID-based IOTLB invalidations (6.5.2.3, 6.5.2.4).
const VTD: QueueOfKind = QueueOfKind {
    tail: 0x88,
    tail_width: Width::Qword,
    base: 0x90,
    shape: |base| {
        let entry_bytes = 16 << (base >> 11 & 1);
        Shape {
            phys: base & !0xfff,
            entry_bytes,
            entries: (4096 << (base & 7)) / entry_bytes,
        }
    },
    index: |tail, shape| (tail & 0x7_ffff) / shape.entry_bytes,
    astray: |word| matches!(word & 0xf, 2 | 6).then(|| with(word, 16, 16, NOBODYS)),
};

/// AMD-Vi: command buffer base and tail (3.4.1, 3.4.12); INVALIDATE_IOMMU_PAGES (2.4.3).
const AMD: QueueOfKind = QueueOfKind {
    tail: 0x2008,
    tail_width: Width::Qword,
    base: 0x8,
    shape: |base| Shape {
        phys: base & 0x000f_ffff_ffff_f000,
        entry_bytes: 16,
        entries: 1 << (base >> 56 & 0xf),
    },
    index: |tail, _| (tail & 0x7_fff0) / 16,
    astray: |word| (word >> 60 == 3).then(|| with(word, 32, 16, NOBODYS)),
};

/// As [`AMD`], but what goes astray is INVALIDATE_DEVTAB_ENTRY (2.4.2).
const AMD_ENTRIES: QueueOfKind = QueueOfKind {
    astray: |word| (word >> 60 == 2).then(|| with(word, 0, 16, NOBODYS)),
    ..AMD
};

/// SMMUv3: SMMU_CMDQ_BASE and _PROD (6.3.26, 6.3.27); CMD_TLBI_* of one ASID or VMID (4.4).
const SMMU: QueueOfKind = QueueOfKind {
    tail: 0x98,
    tail_width: Width::Dword,
    base: 0x90,
    shape: |base| Shape {
        phys: base & 0x000f_ffff_ffff_ffe0,
        entry_bytes: 16,
        entries: 1 << (base & 0x1f),
    },
    index: |tail, shape| tail & (shape.entries - 1),
    astray: |word| {
        let flushes = matches!(word & 0xff, 0x11..=0x13 | 0x28 | 0x2a);
        flushes.then(|| with(with(word, 48, 16, NOBODYS), 32, 16, NOBODYS))
    },
};

/// RISC-V: cqb and cqt (6.6, 6.8); IOTINVAL.VMA and .GVMA (4.1).
const RISCV: QueueOfKind = QueueOfKind {
    tail: 0x24,
    tail_width: Width::Dword,
    base: 0x18,
    shape: |base| Shape {
        phys: (base >> 10 & 0xfff_ffff_ffff) << 12,
        entry_bytes: 16,
        entries: 2 << (base & 0x1f),
    },
    index: |tail, _| tail,
    astray: |word| {
        let (flushes, of_guest) = (word & 0x7f == 1, word >> 7 & 7 == 1);
        // With the valid bit, so that a flush of everything becomes one of nobody's too.
        flushes.then(|| match of_guest {
            true => with(word, 44, 16, NOBODYS) | 1 << 33,
            false => with(word, 12, 20, NOBODYS) | 1 << 32,
        })
    },
};

/// One unit's queue, as far as it was followed.
struct Followed {
    registers: u64,
    kind: &'static QueueOfKind,
    /// Index of the next entry the driver will fill.
    next: u64,
}

/// A board whose units' flushes go astray when asked to.
pub struct Astray {
    inner: Arc<dyn Hardware>,
    queues: Mutex<Vec<Followed>>,
    on: AtomicBool,
    gone: AtomicU64,
}

impl Astray {
    /// `inner`, whose flushes arrive until they are [led astray](Self::lead_astray).
    pub fn new(inner: Arc<dyn Hardware>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            queues: Mutex::default(),
            on: AtomicBool::new(false),
            gone: AtomicU64::new(0),
        })
    }

    /// Follows the queues of these units, which are off still.
    pub fn follow(&self, iommus: &IommuDescription) {
        let mut queues = self.queues.lock();
        for unit in &iommus.units {
            let UnitPlace::Registers { phys, .. } = unit.place else {
                panic!("units behind a BAR are not followed");
            };
            let kind = match unit.kind {
                UnitKind::Vtd => &VTD,
                UnitKind::AmdVi => &AMD,
                UnitKind::SmmuV3 => &SMMU,
                UnitKind::Riscv => &RISCV,
                UnitKind::Virtio => {
                    panic!("a virtio-iommu is told to unmap, and has nothing to flush")
                }
            };
            queues.push(Followed {
                registers: phys,
                kind,
                next: 0,
            });
        }
    }

    /// As [`follow`](Self::follow) an AMD-Vi unit whose registers are at `registers`: what goes astray makes it forget
    /// entries of its device table.
    pub fn follow_amd_entries(&self, registers: u64) {
        self.queues.lock().push(Followed {
            registers,
            kind: &AMD_ENTRIES,
            next: 0,
        });
    }

    /// From now on flushes go astray, or no longer do.
    pub fn lead_astray(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// How many went astray.
    pub fn gone(&self) -> u64 {
        self.gone.load(Ordering::SeqCst)
    }

    fn told(&self, queue: &mut Followed, tail: u64) {
        let base = self
            .inner
            .read(queue.registers + queue.kind.base, Width::Qword);
        let shape = (queue.kind.shape)(base);
        let end = (queue.kind.index)(tail, &shape);
        if end == 0 && tail == 0 {
            // The queue is being set up.
            queue.next = 0;
            return;
        }
        assert!(end < shape.entries, "entry {end} of {}", shape.entries);
        while queue.next != end {
            let phys = shape.phys + queue.next * shape.entry_bytes;
            let ram = self.inner.ram();
            let word = ram.load_u64(phys).expect("a queue lies in RAM");
            if self.on.load(Ordering::SeqCst)
                && let Some(astray) = (queue.kind.astray)(word)
            {
                ram.store_u64(phys, astray).expect("a queue lies in RAM");
                self.gone.fetch_add(1, Ordering::SeqCst);
            }
            queue.next = (queue.next + 1) % shape.entries;
        }
    }
}

impl Between for Astray {
    fn board(&self) -> &dyn Hardware {
        &*self.inner
    }

    fn on_write(&self, phys: u64, width: Width, value: u64) {
        {
            let mut queues = self.queues.lock();
            let queue = queues
                .iter_mut()
                .find(|queue| phys == queue.registers + queue.kind.tail);
            if let Some(queue) = queue.filter(|queue| queue.kind.tail_width == width) {
                self.told(queue, value);
            }
        }
        self.inner.write(phys, width, value);
    }
}
