//! Scalable mode: root entry, context entry, PASID directory, PASID table (3.4.3, 9.2, 9.4 to 9.6).
//!
//! The devices of this machine tag no request with a PASID: all are translated as `RID_PASID`, or as PASID 0 on a unit
//! that does not have it (`ECAP.RPS`).

use hw::vtd::fault::FaultReason;
use hw::vtd::pasid::{self, DirectoryEntry, Entry, Translation};
use hw::vtd::scalable::{self, ContextEntry, Half, RootEntry};

use super::entries::{Context, ContextFault, Route, Rules, Tag};
use super::stage::{FirstStage, Stage};
use crate::iommu::table_memory::TableMemory;

/// A well-formed scalable-mode context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// Physical address of the PASID directory.
    pub(super) phys: u64,
    /// Number of its entries.
    pub(super) entries: u64,
    /// What requests without PASID are translated as.
    pub(super) pasid: u32,
    /// `FPD`.
    pub(super) silent: bool,
}

impl Directory {
    pub(super) fn len_bytes(self) -> u64 {
        self.entries * pasid::DIRECTORY_ENTRY_BYTES
    }
}

impl Rules {
    /// The context table that a root entry names for one half of its bus.
    pub(super) fn context_table(self, words: [u64; 2], half: Half) -> Result<u64, FaultReason> {
        let [low, high] = words;
        let word = match half {
            Half::Lower => low,
            Half::Upper => high,
        };
        let table = RootEntry::from_words(words)
            .table(half)
            .ok_or(FaultReason::ScalableRootNotPresent)?;
        let reserved = RootEntry::RESERVED | self.beyond_host_address(!0);
        if word & reserved != 0 {
            return Err(FaultReason::ScalableRootReserved);
        }
        Ok(table)
    }

    /// Reads the context entry of `requester`.
    pub(super) fn directory(
        self,
        memory: &TableMemory,
        root_table: u64,
        requester: u16,
    ) -> Result<Directory, ContextFault> {
        let at = root_table + scalable::root_index(requester) as u64 * scalable::ROOT_ENTRY_BYTES;
        let fault = |reason, entry| ContextFault {
            reason,
            silent: false,
            entry,
        };
        let words = memory
            .wide_entry(at)
            .map_err(|_| fault(FaultReason::ScalableRootTableUnreachable, [0; 2]))?;
        let table = self
            .context_table(words, Half::of(requester))
            .map_err(|reason| fault(reason, words))?;
        let at = table + scalable::context_index(requester) as u64 * scalable::CONTEXT_ENTRY_BYTES;
        let words = memory
            .words(at)
            .map_err(|_| fault(FaultReason::ScalableContextTableUnreachable, words))?;
        self.decode_directory(words)
    }

    /// What the words of a context entry say (9.4).
    pub(super) fn decode_directory(self, words: [u64; 4]) -> Result<Directory, ContextFault> {
        let entry = ContextEntry::from_words(words);
        let fault = |reason| ContextFault {
            reason,
            silent: entry.fpd(),
            entry: [words[0], words[1]],
        };
        if !entry.p() {
            return Err(fault(FaultReason::ScalableContextNotPresent));
        }
        let absent = ContextEntry::new()
            .with_dte(!self.ecap.dt())
            .with_paside(!self.ecap.pasid())
            .with_pre(!self.ecap.prs())
            .with_rid_pasid(if self.ecap.rps() { 0 } else { 0xf_ffff })
            .with_rid_priv(!self.ecap.rprivs())
            .to_words();
        let beyond = [self.beyond_host_address(!0), 0, 0, 0];
        let reserved = |word: usize| ContextEntry::RESERVED[word] | absent[word] | beyond[word];
        if (0..words.len()).any(|word| words[word] & reserved(word) != 0) {
            return Err(fault(FaultReason::ScalableContextReserved));
        }
        let directory = Directory {
            phys: entry.pasiddirptr(),
            entries: 1 << (entry.pdts() + 7),
            pasid: entry.rid_pasid(),
            silent: entry.fpd(),
        };
        if pasid::directory_index(directory.pasid) as u64 >= directory.entries {
            return Err(fault(FaultReason::RidPasidBeyondDirectory));
        }
        Ok(directory)
    }

    /// The PASID table that a directory entry names.
    pub(super) fn pasid_table(self, word: u64) -> Result<u64, FaultReason> {
        let entry = DirectoryEntry::from_bits(word);
        if !entry.p() {
            return Err(FaultReason::PasidDirectoryNotPresent);
        }
        if word & (DirectoryEntry::RESERVED | self.beyond_host_address(!0)) != 0 {
            return Err(FaultReason::PasidDirectoryReserved);
        }
        Ok(entry.smptblptr())
    }

    /// Reads the PASID-table entry of requests without PASID.
    pub(super) fn pasid(
        self,
        memory: &TableMemory,
        directory: Directory,
    ) -> Result<Context, ContextFault> {
        let pasid = directory.pasid;
        let at =
            directory.phys + pasid::directory_index(pasid) as u64 * pasid::DIRECTORY_ENTRY_BYTES;
        let fault = |reason, silent, word| ContextFault {
            reason,
            silent: silent || directory.silent,
            entry: [word, 0],
        };
        let word = memory
            .entry(at)
            .map_err(|_| fault(FaultReason::PasidDirectoryUnreachable, false, 0))?;
        let silent = DirectoryEntry::from_bits(word).fpd();
        let table = self
            .pasid_table(word)
            .map_err(|reason| fault(reason, silent, word))?;
        let at = table + pasid::table_index(pasid) as u64 * pasid::ENTRY_BYTES;
        let words = memory
            .words(at)
            .map_err(|_| fault(FaultReason::PasidTableUnreachable, silent, word))?;
        let silent = silent || directory.silent;
        self.decode_pasid(words, pasid)
            .map(|context| Context {
                silent: context.silent || silent,
                ..context
            })
            .map_err(|fault| ContextFault {
                silent: fault.silent || silent,
                ..fault
            })
    }

    /// What the words of a PASID-table entry say (9.6).
    pub(super) fn decode_pasid(
        self,
        words: [u64; pasid::ENTRY_WORDS],
        pasid: u32,
    ) -> Result<Context, ContextFault> {
        let entry = Entry::from_words(words);
        let fault = |reason| ContextFault {
            reason,
            silent: entry.fpd(),
            entry: [words[0], words[1]],
        };
        if !entry.p() {
            return Err(fault(FaultReason::PasidNotPresent));
        }
        let reserved = self.pasid_reserved();
        let reserved_did = u32::from(entry.did()) >> self.cap.domain_id_bits() != 0;
        if (0..words.len()).any(|word| words[word] & reserved[word] != 0) || reserved_did {
            return Err(fault(FaultReason::PasidReserved));
        }
        let second = entry.aw().levels().filter(|levels| self.walks(*levels));
        let first = entry.fspm().levels();
        let first = first.filter(|levels| *levels == 4 || self.cap.fs5lp());
        let (table, levels, stage) = match (entry.pgtt(), first, second) {
            (Translation::FirstStage, Some(levels), _) if self.ecap.fsts() => {
                let stage = Stage::First(FirstStage {
                    no_execute: entry.nxe(),
                    snoops: entry.pwsnp(),
                });
                (entry.fsptptr(), levels, stage)
            }
            (Translation::SecondStage, _, Some(levels)) if self.ecap.ssts() => {
                (entry.ssptptr(), levels, Stage::Second)
            }
            // The address width is to be the greatest there is, as in legacy mode (9.6).
            (Translation::PassThrough, _, aw) if self.ecap.pt() && aw == self.deepest() => {
                return Ok(Context {
                    tag: Tag {
                        did: entry.did(),
                        pasid: None,
                    },
                    silent: entry.fpd(),
                    route: Route::PassThrough,
                });
            }
            _ => return Err(fault(FaultReason::PasidInvalid)),
        };
        if self.beyond_host_address(table) != 0 {
            return Err(fault(FaultReason::PasidReserved));
        }
        Ok(Context {
            tag: Tag {
                did: entry.did(),
                pasid: matches!(stage, Stage::First(_)).then_some(pasid),
            },
            silent: entry.fpd(),
            route: Route::Table {
                table,
                levels,
                stage,
            },
        })
    }

    /// Bits of a PASID-table entry that are reserved on this unit, whatever its translation type.
    fn pasid_reserved(self) -> [u64; pasid::ENTRY_WORDS] {
        let ecap = self.ecap;
        let memory_types = !ecap.mts();
        let absent = Entry::new()
            .with_ssade(!ecap.ssads())
            .with_pwsnp(!ecap.smpwc())
            .with_pgsnp(!ecap.sc())
            .with_cd(memory_types)
            .with_emte(memory_types)
            .with_emt(if memory_types { 7 } else { 0 })
            .with_pwt(memory_types)
            .with_pcd(memory_types)
            .with_pat(if memory_types { u32::MAX } else { 0 })
            .with_sre(!ecap.srs())
            .with_ere(!ecap.ers())
            .with_eafe(!ecap.eafs())
            .to_words();
        let mut reserved = Entry::RESERVED;
        for (word, absent) in reserved.iter_mut().zip(absent) {
            *word |= absent;
        }
        reserved
    }
}
