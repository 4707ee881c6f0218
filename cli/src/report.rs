//! What the program says at the end, for people and as JSON, and whether all was well.

use std::process::ExitCode;
use std::time::Duration;

use dmamap::iommu::FlushFigures;
use dmamap::iommu::fault::FaultReport;
use machine::cache::CacheReport;
use machine::device::nvme::RogueReport;
use serde_json::{Value, json};

use crate::computer::Remains;
use crate::hash::Sha;
use crate::output::Output;

/// What the second disk's part of the job came to.
pub(crate) struct CopyReport {
    /// SHA-256 of what was read back from it by DMA.
    pub(crate) sha256: Sha,
}

/// Sums over the devices, taken when the last mapping was gone.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) maps: u64,
    pub(crate) unmaps: u64,
    pub(crate) live_mappings: u64,
    pub(crate) quarantined_bytes: u64,
    pub(crate) cleaned_bytes: u64,
    pub(crate) invalidated_bytes: u64,
    /// What flushes came to that several unmaps share.
    pub(crate) flushes: FlushFigures,
    pub(crate) bounced_maps: u64,
    pub(crate) bounced_bytes: u64,
}

/// Everything the job came to.
pub(crate) struct Report {
    pub(crate) bytes: u64,
    pub(crate) sha256: Sha,
    pub(crate) file_sha256: Sha,
    pub(crate) copy: Option<CopyReport>,
    pub(crate) elapsed: Duration,
    pub(crate) totals: Totals,
    pub(crate) invalidations: u64,
    pub(crate) faults: FaultReport,
    pub(crate) rogue: Option<RogueReport>,
    /// What attacks, if something does.
    pub(crate) attacker: &'static str,
    pub(crate) remains: Remains,
    /// What the models saw that a correct kernel never causes.
    pub(crate) findings: Vec<String>,
    pub(crate) completion: String,
    /// What the CPU's caches did, where hardware does not see them.
    pub(crate) caches: Option<CacheReport>,
}

impl Report {
    /// Whether what arrived is what the file holds.
    fn verified(&self) -> bool {
        let copied = self
            .copy
            .as_ref()
            .is_none_or(|copy| copy.sha256 == self.file_sha256);
        self.sha256 == self.file_sha256 && copied
    }

    /// Pages that devices can still reach, where the hardware tells.
    fn leaves(&self) -> Option<usize> {
        Some(self.remains.audit.as_ref()?.leaves.len())
    }

    /// Everything that was not as it must be, in words.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut complain = |wrong: bool, words: String| {
            if wrong {
                complaints.push(words);
            }
        };
        complain(
            self.sha256 != self.file_sha256,
            "what arrived by DMA is not what the file holds (did the file change while it was read?)".into(),
        );
        complain(
            self.copy
                .as_ref()
                .is_some_and(|copy| copy.sha256 != self.file_sha256),
            "what was read back from the copy is not what the file holds".into(),
        );
        complain(
            self.totals.live_mappings != 0,
            format!("{} mappings still live", self.totals.live_mappings),
        );
        complain(
            self.totals.quarantined_bytes != 0,
            format!("{} bytes in quarantine", self.totals.quarantined_bytes),
        );
        let leaves = self.leaves().unwrap_or(0);
        complain(
            leaves != 0,
            format!("devices still reach {leaves} pages of memory by the IOMMU's tables"),
        );
        let kernel = &self.remains.kernel;
        complain(
            kernel.frames.in_use != 0,
            format!("{} frames not given back", kernel.frames.in_use),
        );
        complain(
            kernel.frames.disturbed != 0,
            format!("{} free frames were written to", kernel.frames.disturbed),
        );
        complain(
            !kernel.is_clean(),
            format!("the kernel was not left clean: {kernel:?}"),
        );
        let lost = self
            .caches
            .map_or(0, |caches| caches.invalidated_dirty_lines);
        complain(
            lost != 0,
            format!("{lost} lines that the CPU had written were dropped from its caches"),
        );
        match &self.rogue {
            Some(rogue) => complain(
                rogue.breaches_total != 0,
                format!(
                    "the rogue {} reached memory {} times: {:?}",
                    self.attacker, rogue.breaches_total, rogue.breaches
                ),
            ),
            None => {
                complain(
                    self.faults.total != 0,
                    format!("{} requests were refused", self.faults.total),
                );
            }
        }
        complaints.extend(
            self.findings
                .iter()
                .map(|finding| format!("the hardware noticed: {finding}")),
        );
        complaints
    }

    /// The program's exit status.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.complaints().is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// For people.
    pub(crate) fn print(&self, output: &mut Output) {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.bytes as f64 / seconds.max(1e-9) / 1e6;
        let totals = self.totals;
        output.line(format_args!(
            "bytes           {} in {seconds:.3} s ({rate:.0} MB/s)",
            self.bytes
        ));
        output.line(format_args!("completions     by {}", self.completion));
        output.line(format_args!("SHA-256 by DMA  {}", self.sha256));
        output.line(format_args!("SHA-256 of file {}", self.file_sha256));
        if let Some(copy) = &self.copy {
            output.line(format_args!(
                "SHA-256 of copy {} (written, flushed, read back by DMA)",
                copy.sha256
            ));
        }
        output.line(format_args!(
            "mappings        {} maps, {} unmaps, {} live; {} invalidations",
            totals.maps, totals.unmaps, totals.live_mappings, self.invalidations
        ));
        if let Some(caches) = &self.caches {
            output.line(format_args!(
                "caches          {} lines written back ({} dirty), {} dropped; {} went and {} came by themselves",
                caches.cleaned_lines,
                caches.cleaned_dirty_lines,
                caches.invalidated_lines,
                caches.evicted_lines,
                caches.fetched_lines
            ));
        }
        let flushes = &totals.flushes;
        if flushes.retired > 0 {
            output.line(format_args!(
                "flushes         {} for {} unmaps, {} at most in one; {} wait, the longest waited {:.3} ms",
                flushes.flushes,
                flushes.retired,
                flushes.largest_flush,
                flushes.waiting,
                flushes.longest_window_ns as f64 / 1e6,
            ));
        }
        if totals.bounced_maps != 0 {
            output.line(format_args!(
                "bounced         {} mappings, {} bytes: the disk was given copies",
                totals.bounced_maps, totals.bounced_bytes
            ));
        }
        if let Some(rogue) = &self.rogue {
            output.line(format_args!(
                "rogue {:9} {} attempts outside its mappings, {} reached memory",
                self.attacker, rogue.attempts, rogue.breaches_total
            ));
        }
        let more = match self.faults.overflows {
            0 => String::new(),
            times => format!(", and the units ran out of records {times} times"),
        };
        output.line(format_args!("faults          {}{more}", self.faults.total));
        for fault in &self.faults.first_per_requester {
            output.line(format_args!(
                "                first of its requester: {fault}"
            ));
        }
        let pages = match self.leaves() {
            Some(leaves) => format!(", {leaves} pages in the IOMMU's tables"),
            None => String::new(),
        };
        output.line(format_args!(
            "left behind     {} frames{pages}",
            self.remains.kernel.frames.in_use,
        ));
        let complaints = self.complaints();
        for complaint in &complaints {
            output.line(format_args!("wrong           {complaint}"));
        }
        let verdict = if complaints.is_empty() {
            "verified: the two agree, and nothing is left behind"
        } else {
            "FAILED"
        };
        output.line(verdict);
    }

    /// For programs: one object.
    pub(crate) fn json(&self) -> Value {
        let fault = |fault: &dmamap::iommu::fault::Fault| {
            json!({
                "requester": fault.requester.to_string(),
                "address": format!("{:#x}", fault.address),
                "access": fault.access.to_string(),
                "reason": fault.reason.text,
                "code": fault.reason.code,
            })
        };
        json!({
            "bytes": self.bytes,
            "sha256": self.sha256.to_string(),
            "file_sha256": self.file_sha256.to_string(),
            "copy_sha256": self.copy.as_ref().map(|copy| copy.sha256.to_string()),
            "verified": self.verified(),
            "seconds": self.elapsed.as_secs_f64(),
            "completion": self.completion,
            "maps": self.totals.maps,
            "unmaps": self.totals.unmaps,
            "live_mappings": self.totals.live_mappings,
            "quarantined_bytes": self.totals.quarantined_bytes,
            "bounced_maps": self.totals.bounced_maps,
            "bounced_bytes": self.totals.bounced_bytes,
            "cleaned_bytes": self.totals.cleaned_bytes,
            "invalidated_bytes": self.totals.invalidated_bytes,
            "caches": self.caches.map(|caches| json!({
                "cleaned_lines": caches.cleaned_lines,
                "cleaned_dirty_lines": caches.cleaned_dirty_lines,
                "invalidated_lines": caches.invalidated_lines,
                "invalidated_dirty_lines": caches.invalidated_dirty_lines,
                "evicted_lines": caches.evicted_lines,
                "fetched_lines": caches.fetched_lines,
            })),
            "invalidations": self.invalidations,
            "flushes": self.totals.flushes.flushes,
            "flushes_shared_by": self.totals.flushes.retired,
            "largest_flush": self.totals.flushes.largest_flush,
            "waiting_for_flush": self.totals.flushes.waiting,
            "longest_window_ms": self.totals.flushes.longest_window_ns as f64 / 1e6,
            "faults": self.faults.first_per_requester.iter().map(fault).collect::<Vec<_>>(),
            "faults_total": self.faults.total,
            "fault_overflows": self.faults.overflows,
            "rogue_attempts": self.rogue.as_ref().map_or(0, |rogue| rogue.attempts),
            "rogue_breaches": self.rogue.as_ref().map_or(0, |rogue| rogue.breaches_total),
            "frames_leaked": self.remains.kernel.frames.in_use + self.leaves().unwrap_or(0) as u64,
            "leaves_found": self.leaves(),
            "findings": self.findings,
            "wrong": self.complaints(),
        })
    }
}
