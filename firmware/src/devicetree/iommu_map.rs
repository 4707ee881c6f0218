//! `iommu-map` of PCI host bridges: requester ids, and what the units know them by.

use alloc::vec;
use alloc::vec::Vec;

use super::Devicetree;
use super::iommu::Places;
use super::node::Node;
use crate::description::{Assignment, Devices, Stream};
use crate::error::{Damage, TableError};

/// Requester ids, and the unit that knows the first of them by `stream`, the others following it.
struct Wires {
    first: u32,
    count: u32,
    /// `None` for an IOMMU that is not described.
    unit: Option<usize>,
    stream: u32,
}

/// Cells of an entry: requester id, phandle, stream, length.
const ENTRY_CELLS: u32 = 4;

/// Most entries beside a mask, and most masks in a tree: each is spread over all requester ids.
const MASKED_ENTRIES_MAX: usize = 64;
const MASKS_MAX: usize = 32;

const REQUESTERS: usize = 1 << 16;

impl Devicetree<'_> {
    /// Adds what `iommu-map` of all host bridges says.
    pub(super) fn map_segments(
        &self,
        places: &Places,
        assignments: &mut Vec<Assignment>,
    ) -> Result<(), TableError> {
        let mut masks = 0;
        for (number, segment) in &places.segments {
            let Some(node) = self.nodes.get(*number) else {
                continue;
            };
            let wires = self.wires(node, places)?;
            let mask = node.cell_or("iommu-map-mask", u32::MAX)? as u16;
            if wires.is_empty() || mask == u16::MAX {
                assignments.extend(wires.iter().filter_map(|wires| direct(*segment, wires)));
                continue;
            }
            masks += 1;
            for (stated, most) in [(wires.len(), MASKED_ENTRIES_MAX), (masks, MASKS_MAX)] {
                if stated > most {
                    return Err(node.error(Damage::TooMany { stated, most }));
                }
            }
            spread(*segment, &wires, mask, assignments);
        }
        Ok(())
    }

    fn wires(&self, node: &Node<'_>, places: &Places) -> Result<Vec<Wires>, TableError> {
        let Some(map) = node.property("iommu-map") else {
            return Ok(Vec::new());
        };
        let mut wires = Vec::new();
        for (index, entry) in map.entries(ENTRY_CELLS)?.enumerate() {
            let to = self.referred(&map, index * ENTRY_CELLS as usize + 1)?;
            let (first, stream, count) = (entry.cell(0)?, entry.cell(2)?, entry.cell(3)?);
            if count == 0 {
                continue;
            }
            entry.check_ids(0, first, count)?;
            entry.check_ids(2, stream, count)?;
            wires.push(Wires {
                first,
                count,
                unit: places.unit(to),
                stream,
            });
        }
        Ok(wires)
    }
}

fn direct(segment: u16, wires: &Wires) -> Option<Assignment> {
    Some(Assignment {
        devices: Devices::requesters(segment, wires.first, wires.count.into())?,
        unit: wires.unit?,
        stream: Stream::From(wires.stream),
    })
}

/// Adds what `wires` mean where requester ids are masked first: those that differ in other bits share a stream.
fn spread(segment: u16, wires: &[Wires], mask: u16, assignments: &mut Vec<Assignment>) {
    let mut known: Vec<Option<(usize, u32)>> = vec![None; REQUESTERS];
    // The first entry that has a requester counts, thus comes last.
    for wires in wires.iter().rev() {
        let places = known.iter_mut().skip(wires.first as usize);
        for (place, ahead) in places.zip(0..wires.count) {
            // It cannot overflow: the streams are a range.
            *place = wires.unit.map(|unit| (unit, wires.stream + ahead));
        }
    }
    let mut run: Option<Run> = None;
    for requester in 0..=u16::MAX {
        let to = known.get(usize::from(requester & mask)).copied().flatten();
        if let (Some(run), Some(to)) = (&mut run, to)
            && run.takes(to)
        {
            run.last = requester;
            continue;
        }
        assignments.extend(run.take().map(|run| run.assignment(segment)));
        run = to.map(|to| Run::new(requester, to));
    }
    assignments.extend(run.map(|run| run.assignment(segment)));
}

/// Consecutive requester ids whose streams are all the same, or consecutive too.
struct Run {
    first: u16,
    last: u16,
    unit: usize,
    stream: u32,
    /// From one stream to the next; unknown while there is only one.
    step: Option<u32>,
}

impl Run {
    fn new(first: u16, (unit, stream): (usize, u32)) -> Self {
        Self {
            first,
            last: first,
            unit,
            stream,
            step: None,
        }
    }

    /// Whether the next requester id, known as `stream` to `unit`, goes on with the run.
    fn takes(&mut self, (unit, stream): (usize, u32)) -> bool {
        let far = u32::from(self.last - self.first) + 1;
        let step = match stream.checked_sub(self.stream) {
            Some(0) => 0,
            Some(ahead) if ahead == far => 1,
            _ => return false,
        };
        let goes_on = unit == self.unit && self.step.is_none_or(|known| known == step);
        if goes_on {
            self.step = Some(step);
        }
        goes_on
    }

    fn assignment(self, segment: u16) -> Assignment {
        Assignment {
            devices: Devices::Requesters {
                segment,
                first: self.first,
                last: self.last,
            },
            unit: self.unit,
            stream: match self.step {
                Some(1) => Stream::From(self.stream),
                _ => Stream::One(self.stream),
            },
        }
    }
}
