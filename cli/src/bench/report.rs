//! What a measurement came to, for people and as JSON, and whether all was well.

use serde_json::{Value, json};

use super::args::BenchArgs;
use super::drawing::Drawing;
use super::latency::Summary;
use super::load::{Load, Piece};
use super::measure::Outcome;
use crate::args::{BoardChoice, size_text, typed};
use crate::output::Output;

/// One measurement, and what was drawn besides.
pub(super) struct Report<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) outcome: &'a Outcome,
    /// What one reading of the clock costs.
    pub(super) clock_ns: f64,
    pub(super) drawing: Option<&'a Drawing>,
    /// What was wrong, in this measurement and in those that were drawn.
    pub(super) complaints: &'a [String],
}

/// Everything that was not as it must be, in words.
pub(super) fn complaints(outcome: &Outcome) -> Vec<String> {
    let (end, memory) = (&outcome.end, &outcome.memory);
    let kernel = &outcome.remains.kernel;
    let leaves = leaves(outcome).unwrap_or(0);
    let operations = outcome.recorded.pair.count();
    let (maps, unmaps) = (outcome.counts.maps, outcome.counts.unmaps);
    let checks = [
        (
            (maps, unmaps) != (operations, operations),
            format!("{operations} pairs were recorded, {maps} maps and {unmaps} unmaps counted"),
        ),
        (
            end.live_mappings != 0,
            format!("{} mappings still live", end.live_mappings),
        ),
        (
            end.quarantined_bytes != 0,
            format!("{} bytes in quarantine", end.quarantined_bytes),
        ),
        (
            // A pool of copies stays mapped as long as its device is attached.
            end.domain_frames != memory.frames_empty && !outcome.load.is_pooled(),
            format!(
                "the device's domain holds {} frames, and {} before the first mapping",
                end.domain_frames, memory.frames_empty
            ),
        ),
        (
            leaves != 0,
            format!("devices still reach {leaves} pages of memory by the IOMMU's tables"),
        ),
        (
            !kernel.is_clean(),
            format!("the kernel was not left clean: {kernel:?}"),
        ),
        (
            outcome.faults != 0,
            format!("{} requests were refused", outcome.faults),
        ),
    ];
    let wrong = checks
        .into_iter()
        .filter_map(|(wrong, words)| wrong.then_some(words));
    let noticed = outcome.findings.iter();
    wrong
        .chain(noticed.map(|finding| format!("the hardware noticed: {finding}")))
        .collect()
}

/// Pages that devices can still reach, where the hardware tells.
fn leaves(outcome: &Outcome) -> Option<usize> {
    Some(outcome.remains.audit.as_ref()?.leaves.len())
}

/// The settings in a line.
pub(super) fn title(args: &BenchArgs, load: &Load) -> String {
    let what = match load.piece {
        Piece::Single { bytes } => format!("{} in one piece", size_text(bytes)),
        Piece::List { pages: 1 } => "a list of 1 page".into(),
        Piece::List { pages } => format!("a list of {pages} pages"),
    };
    let board = match args.machine.board {
        BoardChoice::Machine => String::new(),
        BoardChoice::Qemu => " on QEMU".into(),
    };
    let copies = match load.copy_below_bytes {
        0 => String::new(),
        below => format!(", copied below {} bytes", size_text(below)),
    };
    let snoops = match args.machine.non_coherent {
        true => ", not coherent",
        false => "",
    };
    format!(
        "{what}, {}, iommu {}{board}, policy {}{copies}{snoops}",
        typed(args.direction),
        args.machine.iommu.name(),
        typed(load.policy),
    )
}

fn threads(count: u16) -> String {
    match count {
        1 => "1 thread".into(),
        count => format!("{count} threads"),
    }
}

impl Report<'_> {
    /// Operations: mappings that were made and unmapped.
    fn operations(&self) -> u64 {
        self.outcome.recorded.pair.count()
    }

    fn per_second(&self) -> f64 {
        let seconds = self.outcome.recorded.elapsed.as_secs_f64();
        self.operations() as f64 / seconds.max(1e-9)
    }

    fn gib_per_second(&self) -> f64 {
        let bytes = self.outcome.load.piece.len_bytes() as f64;
        self.per_second() * bytes / (1_u64 << 30) as f64
    }

    fn per_operation(&self, count: u64) -> f64 {
        count as f64 / self.operations().max(1) as f64
    }

    /// For people.
    pub(super) fn print(&self, output: &mut Output) {
        let Outcome {
            load,
            recorded,
            counts,
            memory,
            ..
        } = self.outcome;
        output.line(format_args!("mapped          {}", title(self.args, load)));
        output.line(format_args!(
            "by              {} at once, {} alive for each, {} besides",
            threads(load.threads),
            load.ring,
            load.live
        ));
        output.line(format_args!(
            "operations      {} in {:.3} s: {:.0} a second, {:.3} GiB/s",
            self.operations(),
            recorded.elapsed.as_secs_f64(),
            self.per_second(),
            self.gib_per_second(),
        ));
        output.line("latency, ns            mean       p50       p99     p99.9       max");
        for (name, latency) in [
            ("map", &recorded.map),
            ("unmap", &recorded.unmap),
            ("both", &recorded.pair),
        ] {
            let Summary {
                mean,
                p50,
                p99,
                p999,
                max,
                ..
            } = latency.summary();
            output.line(format_args!(
                "  {name:<14} {mean:>10.0} {p50:>9} {p99:>9} {p999:>9} {max:>9}"
            ));
        }
        output.line(format_args!(
            "clock           {:.0} ns a reading, which is part of each latency",
            self.clock_ns
        ));
        match counts.units {
            Some(units) => {
                let requests = match units.map_requests {
                    0 => String::new(),
                    count => format!(", {:.4} MAP requests", self.per_operation(count)),
                };
                output.line(format_args!(
                    "for each        {:.4} invalidations, {:.4} waits{requests}, as the unit counts",
                    self.per_operation(units.invalidations),
                    self.per_operation(units.waits),
                ));
            }
            None => output.line(format_args!(
                "for each        {:.4} invalidations, as the driver counts",
                self.per_operation(counts.commands)
            )),
        }
        if counts.flushes > 0 {
            output.line(format_args!(
                "flushes         {} for {} unmaps",
                counts.flushes, counts.retired
            ));
        }
        if counts.bounced_maps > 0 {
            output.line(format_args!(
                "bounced         {} mappings, {} bytes: the device was given copies",
                counts.bounced_maps, counts.bounced_bytes
            ));
        }
        if counts.cleaned_bytes + counts.invalidated_bytes > 0 {
            output.line(format_args!(
                "caches          {:.0} bytes written back for each, {:.0} dropped",
                self.per_operation(counts.cleaned_bytes),
                self.per_operation(counts.invalidated_bytes)
            ));
        }
        match memory.bytes_per_mapping() {
            Some(bytes) => output.line(format_args!(
                "memory          {bytes:.1} bytes for each of {} that live: {} frames of the domain, {} without any",
                memory.mappings, memory.frames, memory.frames_empty
            )),
            None => output.line(format_args!(
                "memory          {} frames of the domain (--live N or --ring N tell the memory of a mapping)",
                memory.frames_empty
            )),
        }
        if let Some(pool) = memory.pool_bytes
            && memory.mappings > 0
        {
            output.line(format_args!(
                "copies' pool    {} KiB, of which mappings that live share",
                pool / 1024
            ));
        }
        let pages = match leaves(self.outcome) {
            Some(leaves) => format!(", {leaves} pages in the IOMMU's tables"),
            None => String::new(),
        };
        output.line(format_args!(
            "left behind     {} mappings, {} frames{pages}",
            self.outcome.end.live_mappings, self.outcome.remains.kernel.frames.in_use,
        ));
        if let Some(drawing) = self.drawing {
            output.line(format_args!("drawn           {}", drawing.path().display()));
        }
        for complaint in self.complaints {
            output.line(format_args!("wrong           {complaint}"));
        }
        if !self.complaints.is_empty() {
            output.line("FAILED");
        }
    }

    /// For programs: one object.
    pub(super) fn json(&self) -> Value {
        let Outcome {
            load,
            recorded,
            counts,
            memory,
            end,
            ..
        } = self.outcome;
        let machine = &self.args.machine;
        let pages = match load.piece {
            Piece::Single { .. } => None,
            Piece::List { pages } => Some(pages),
        };
        let units = counts.units;
        json!({
            "settings": {
                "board": machine.board.name(),
                "iommu": machine.iommu.name(),
                "policy": typed(load.policy),
                "copy_below_bytes": load.copy_below_bytes,
                "threads": load.threads,
                "size_bytes": load.piece.len_bytes(),
                "list_pages": pages,
                "ring": load.ring,
                "live": load.live,
                "direction": typed(self.args.direction),
                "non_coherent": machine.non_coherent,
                "seconds": self.args.seconds.as_secs_f64(),
                "ram_bytes": machine.ram,
                "temper": typed(machine.temper),
                "seed": machine.seed,
                "walks": typed(machine.walks),
                "table_levels": machine.table_levels,
                "stage": machine.stage.map(typed),
            },
            "operations": self.operations(),
            "seconds": recorded.elapsed.as_secs_f64(),
            "operations_per_second": self.per_second(),
            "gib_per_second": self.gib_per_second(),
            "clock_ns": self.clock_ns,
            "map": recorded.map.summary().json(),
            "unmap": recorded.unmap.summary().json(),
            "pair": recorded.pair.summary().json(),
            "maps": counts.maps,
            "unmaps": counts.unmaps,
            "commands_completed": counts.commands,
            "invalidations": units.map(|units| units.invalidations),
            "waits": units.map(|units| units.waits),
            "map_requests": units.map(|units| units.map_requests),
            "invalidations_per_operation": units.map(|units| self.per_operation(units.invalidations)),
            "waits_per_operation": units.map(|units| self.per_operation(units.waits)),
            "flushes": counts.flushes,
            "flushes_shared_by": counts.retired,
            "bounced_maps": counts.bounced_maps,
            "bounced_bytes": counts.bounced_bytes,
            "cleaned_bytes": counts.cleaned_bytes,
            "invalidated_bytes": counts.invalidated_bytes,
            "memory": {
                "mappings": memory.mappings,
                "domain_frames": memory.frames,
                "domain_frames_empty": memory.frames_empty,
                "bytes_per_mapping": memory.bytes_per_mapping(),
                "pool_bytes": memory.pool_bytes,
            },
            "plot": self.drawing.map(Drawing::json),
            "live_mappings": end.live_mappings,
            "quarantined_bytes": end.quarantined_bytes,
            "domain_frames_at_end": end.domain_frames,
            "frames_leaked": self.outcome.remains.kernel.frames.in_use,
            "leaves_found": leaves(self.outcome),
            "faults_total": self.outcome.faults,
            "findings": self.outcome.findings,
            "wrong": self.complaints,
        })
    }
}
