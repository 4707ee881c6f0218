//! Random mapping, unmapping, attaching and DMA, compared step by step with an oracle that knows nothing but what was
//! asked.
//!
//! The oracle is a list of buffers, where each is mapped, in which direction, and what every byte must be. Whatever the
//! device is told to do, memory must be as the oracle says: a write arrives where a mapping allows it and
//! nowhere else, not at addresses that were just unmapped, not in a neighbour's memory, not against the direction.
//!
//! On a computer that attaches with [`Protection::Deferred`] memory is also retired, and then a transfer to it may arrive until a flush, and must not
//! after it.
//!
//! ```no_run
//! # use journeys::Computer;
//! # use journeys::differential::{DifferentialError, differential};
//! # use hosted::Hosted;
//! # fn example(computer: &mut Computer<Hosted>) -> Result<(), DifferentialError> {
//! let report = differential(computer, 42, 1_000)?;
//! assert_eq!(report.operations, 1_000);
//! # Ok(())
//! # }
//! ```

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Bidirectional, Mapping, Permission, Retired};
use dmamap::platform::Platform;
use dmamap::system::Protection;

use crate::computer::Computer;
use crate::isolation::{ConfinedEdu, not_mapped};
use crate::needs::Unmet;
use crate::{IsolationError, Needs};

/// What this journey needs. No other driver may have the disk.
pub const NEEDS: Needs = Needs::EDU.and(Needs::DISK).and(Needs::IOMMU);

/// Bytes a transfer moves.
const TRANSFER_BYTES: usize = 64;

const PAGE_BYTES: u64 = 4096;

/// Mappings that live at one time.
const MAX_LIVE: usize = 24;

/// Buffers that are kept after they were unmapped, to see that nothing reaches them any more.
const MAX_DEAD: usize = 24;

/// Pages of the largest buffer but for the rare large one.
const MAX_PAGES: u64 = 8;

/// Pages of a rare large buffer: room for a leaf of 2 MiB.
const LARGE_PAGES: u64 = 1024;

/// One mapping in so many is of a large buffer, and one step in so many attaches the device anew.
const RARE: u64 = 64;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DifferentialReport {
    /// Steps made.
    pub operations: u64,
    /// Buffers mapped.
    pub maps: u64,
    /// Buffers unmapped.
    pub unmaps: u64,
    /// Times the device was attached anew.
    pub attaches: u64,
    /// Transfers that a mapping allowed.
    pub allowed: u64,
    /// Transfers that none allowed.
    pub refused: u64,
    /// Buffers retired.
    pub retired: u64,
    /// Transfers to retired memory before a flush.
    pub exposed: u64,
    /// Those of them that arrived.
    pub reached: u64,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, step {step}: {error}")]
pub struct DifferentialError {
    /// The seed of the run.
    pub seed: u64,
    /// The step it ended at.
    pub step: u64,
    /// What was wrong.
    #[source]
    pub error: Disagreement,
}

/// What hardware did otherwise than the oracle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Disagreement {
    /// Something else failed.
    #[error(transparent)]
    Other(Box<IsolationError>),
    /// A byte is not what it must be.
    #[error(
        "byte {offset:#x} of the buffer at bus {bus} is {found:#04x}, not {expected:#04x} ({state})"
    )]
    Byte {
        /// Where the buffer is, or was, mapped.
        bus: BusAddr,
        /// The byte.
        offset: usize,
        /// What it is.
        found: u8,
        /// What it must be.
        expected: u8,
        /// What the buffer was then.
        state: &'static str,
    },
    /// A read that nothing allows brought what lies there.
    #[error("the device read memory at bus {bus} that is not mapped for it to read")]
    ReadForbidden {
        /// Where it read.
        bus: BusAddr,
    },
    /// The driver's tables do not say what the mapping does.
    #[error(
        "the device should be able to read at bus {bus}, where a mapping lends it memory to read"
    )]
    NotReadable {
        /// Where it is mapped.
        bus: BusAddr,
    },
    /// A read that a mapping allows brought something else.
    #[error("the device read something else at bus {bus} than what is mapped there")]
    ReadWrong {
        /// Where it read.
        bus: BusAddr,
    },
    /// Nobody was told of a single one of many refused transfers.
    #[error("{refused} transfers were refused and none was reported")]
    NothingReported {
        /// How many there were.
        refused: u64,
    },
}

impl<E: Into<IsolationError>> From<E> for Disagreement {
    fn from(error: E) -> Self {
        Self::Other(Box::new(error.into()))
    }
}

/// A buffer while it is mapped.
struct Live<P: Platform> {
    mapping: Mapping<P, DmaBuffer<P>, AnyDirection>,
    expected: Vec<u8>,
}

/// A buffer after that.
struct Dead<P: Platform> {
    bus: BusAddr,
    buffer: DmaBuffer<P>,
    expected: Vec<u8>,
}

/// A buffer in between.
struct Window<P: Platform> {
    bus: BusAddr,
    retired: Retired<P, DmaBuffer<P>, AnyDirection>,
    direction: AnyDirection,
    expected: Vec<u8>,
    /// What was sent to it before a flush: from where on, and what.
    sent: Vec<(usize, [u8; TRANSFER_BYTES])>,
}

/// Numbers that look random and come again with the seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

struct Run<P: Platform> {
    protection: Protection,
    dice: Dice,
    confined: ConfinedEdu<P>,
    live: Vec<Live<P>>,
    windows: Vec<Window<P>>,
    dead: VecDeque<Dead<P>>,
    /// A device in a domain of its own, and what it was lent.
    neighbour: Device<P>,
    lent: Mapping<P, DmaBuffer<P>, Bidirectional>,
    report: DifferentialReport,
}

/// Makes `operations` random steps, chosen by `seed`.
///
/// # Errors
/// [`DifferentialError`] at the first disagreement, with the seed and the step.
pub fn differential<P: Platform>(
    computer: &mut Computer<P>,
    seed: u64,
    operations: u64,
) -> Result<DifferentialReport, DifferentialError> {
    let at = |step, error| DifferentialError { seed, step, error };
    let faults = computer.system().faults().total;
    let mut run = Run::begin(computer, seed).map_err(|error| at(0, error))?;
    for step in 0..operations {
        run = run.step(computer).map_err(|error| at(step, error))?;
    }
    let report = run.end().map_err(|error| at(operations, error))?;
    let reported = computer.system().faults().total - faults;
    if report.refused > RARE && reported == 0 {
        let refused = report.refused;
        return Err(at(operations, Disagreement::NothingReported { refused }));
    }
    Ok(report)
}

impl<P: Platform> Run<P> {
    fn begin(computer: &mut Computer<P>, seed: u64) -> Result<Self, Disagreement> {
        NEEDS.check(computer)?;
        let disk = computer.disks().next().cloned().ok_or(Unmet {
            lacking: Needs::DISK,
        })?;
        let neighbour = computer.attach(&disk)?;
        let mut lent = DmaBuffer::allocate_for(&neighbour, MAX_PAGES * PAGE_BYTES)?;
        lent.as_mut_slice().fill(NEIGHBOURS);
        let lent = neighbour
            .map_single(lent, Bidirectional)
            .map_err(not_mapped)?;
        Ok(Self {
            protection: computer.protection,
            dice: Dice(seed),
            confined: ConfinedEdu::attach(computer)?,
            live: Vec::new(),
            windows: Vec::new(),
            dead: VecDeque::new(),
            neighbour,
            lent,
            report: DifferentialReport::default(),
        })
    }

    fn step(mut self, computer: &mut Computer<P>) -> Result<Self, Disagreement> {
        self.report.operations += 1;
        if self.protection == Protection::Deferred {
            self.settle()?;
        }
        match self.dice.below(8) {
            0 | 1 if self.live.len() < MAX_LIVE => self.map()?,
            2 if !self.live.is_empty() => {
                let chosen = self.dice.below(self.live.len() as u64) as usize;
                self.unmap(chosen)?;
            }
            3 if self.dice.below(RARE / 8) == 0 => return self.attach_anew(computer),
            4 | 5 => self.write()?,
            _ => self.read()?,
        }
        Ok(self)
    }

    fn map(&mut self) -> Result<(), Disagreement> {
        let pages = match self.dice.below(RARE) {
            0 => LARGE_PAGES,
            _ => 1 + self.dice.below(MAX_PAGES),
        };
        // Not whole pages: what follows in the last page is the buffer's too.
        let len_bytes = pages * PAGE_BYTES - self.dice.below(PAGE_BYTES / 2);
        let mut buffer = DmaBuffer::allocate_for(self.confined.edu().device(), len_bytes)?;
        self.dice.fill(buffer.as_mut_slice());
        let expected = buffer.as_slice().to_vec();
        let direction = match self.dice.below(3) {
            0 => AnyDirection::ToDevice,
            1 => AnyDirection::FromDevice,
            _ => AnyDirection::Bidirectional,
        };
        let device = self.confined.edu().device();
        let mapping = device.map_single(buffer, direction).map_err(not_mapped)?;
        self.live.push(Live { mapping, expected });
        self.report.maps += 1;
        Ok(())
    }

    /// Retires some of what is mapped, right before a transfer; where that is then to go, if to one of these.
    fn retire(&mut self) -> Option<BusAddr> {
        if self.protection != Protection::Deferred || self.live.len() < 2 {
            return None;
        }
        let chosen = self.dice.below(self.live.len() as u64) as usize;
        let Live { mapping, expected } = self.live.swap_remove(chosen);
        let (bus, direction) = (mapping.bus_addr(), mapping.direction());
        self.windows.push(Window {
            bus,
            retired: mapping.retire(),
            direction,
            expected,
            sent: Vec::new(),
        });
        self.report.retired += 1;
        let chosen = self.dice.below(self.windows.len() as u64) as usize;
        let Window { bus, expected, .. } = &self.windows[chosen];
        let (bus, slots) = (*bus, (expected.len() / TRANSFER_BYTES) as u64);
        let offset = self.dice.below(slots.max(1)) * TRANSFER_BYTES as u64;
        bus.checked_add(offset).filter(|_| self.dice.below(2) == 0)
    }

    /// Ends some of the time in which the device may reach what was retired.
    fn settle(&mut self) -> Result<(), Disagreement> {
        match self.dice.below(4) {
            0 => self.confined.edu().device().flush()?,
            1 if !self.windows.is_empty() => {
                let chosen = self.dice.below(self.windows.len() as u64) as usize;
                self.close(chosen)?;
            }
            _ => {}
        }
        while self.windows.len() > MAX_LIVE {
            self.close(0)?;
        }
        Ok(())
    }

    /// Takes retired memory back, and sees what became of it.
    fn close(&mut self, chosen: usize) -> Result<(), Disagreement> {
        let window = self.windows.swap_remove(chosen);
        let Window {
            bus,
            retired,
            mut expected,
            sent,
            ..
        } = window;
        let buffer = retired.finish()?;
        self.report.unmaps += 1;
        // Each transfer arrived whole or not at all, in order.
        for (offset, sent) in sent {
            let end = (offset + TRANSFER_BYTES).min(expected.len());
            let Some(found) = buffer.as_slice().get(offset..end) else {
                continue;
            };
            if found == &sent[..end - offset] {
                self.report.reached += 1;
                expected[offset..end].copy_from_slice(found);
            }
        }
        compare(
            bus,
            buffer.as_slice(),
            &expected,
            "when a flush had covered it",
        )?;
        self.dead.push_back(Dead {
            bus,
            buffer,
            expected,
        });
        if self.dead.len() > MAX_DEAD
            && let Some(oldest) = self.dead.pop_front()
        {
            oldest.check()?;
        }
        Ok(())
    }

    /// What was retired at `bus` and no flush has covered, and where in it.
    fn exposed_at(&self, bus: BusAddr) -> Option<(usize, usize)> {
        self.windows.iter().enumerate().find_map(|(n, window)| {
            let offset = bus.as_u64().checked_sub(window.bus.as_u64())? as usize;
            let open = !window.retired.is_settled();
            (open && offset < window.expected.len()).then_some((n, offset))
        })
    }

    fn unmap(&mut self, chosen: usize) -> Result<(), Disagreement> {
        let Live { mapping, expected } = self.live.swap_remove(chosen);
        let bus = mapping.bus_addr();
        let buffer = mapping.unmap()?;
        self.report.unmaps += 1;
        compare(bus, buffer.as_slice(), &expected, "when it was unmapped")?;
        self.dead.push_back(Dead {
            bus,
            buffer,
            expected,
        });
        if self.dead.len() > MAX_DEAD
            && let Some(oldest) = self.dead.pop_front()
        {
            oldest.check()?;
        }
        Ok(())
    }

    /// Detaches the device with all it has mapped, and attaches it again.
    fn attach_anew(mut self, computer: &mut Computer<P>) -> Result<Self, Disagreement> {
        self.confined.stop().detach()?;
        self.confined = ConfinedEdu::attach(computer)?;
        self.report.attaches += 1;
        while !self.live.is_empty() {
            self.unmap(0)?;
        }
        while !self.windows.is_empty() {
            self.close(0)?;
        }
        Ok(self)
    }

    /// Somewhere a transfer may go: in what is mapped, was mapped, or is mapped for the neighbour.
    fn target(&mut self) -> BusAddr {
        let (base, len_bytes) = match self.dice.below(8) {
            0 => (self.lent.bus_addr(), MAX_PAGES * PAGE_BYTES),
            1 | 2 if !self.dead.is_empty() => {
                let chosen = self.dice.below(self.dead.len() as u64) as usize;
                let dead = &self.dead[chosen];
                (dead.bus, dead.expected.len() as u64)
            }
            _ if !self.live.is_empty() => {
                let chosen = self.dice.below(self.live.len() as u64) as usize;
                let live = &self.live[chosen];
                (live.mapping.bus_addr(), live.expected.len() as u64)
            }
            // Anywhere in what 28 address lines reach.
            _ => (BusAddr::new(0), 1 << 28),
        };
        let slots = (len_bytes / TRANSFER_BYTES as u64).max(1);
        let offset = self.dice.below(slots) * TRANSFER_BYTES as u64;
        base.checked_add(offset).unwrap_or(base)
    }

    /// The mapping a transfer to `bus` is in, and where in it.
    fn mapped_at(&self, bus: BusAddr) -> Option<(usize, usize)> {
        self.live.iter().enumerate().find_map(|(n, live)| {
            let offset = bus.as_u64().checked_sub(live.mapping.bus_addr().as_u64())?;
            // To the end of the last page: the device reaches whole pages.
            let reach = (live.expected.len() as u64).next_multiple_of(PAGE_BYTES);
            (offset < reach).then_some((n, offset as usize))
        })
    }

    fn write(&mut self) -> Result<(), Disagreement> {
        let bus = self.target();
        let mut sent = [0; TRANSFER_BYTES];
        self.dice.fill(&mut sent);
        self.confined.load_bytes(&sent)?;
        let bus = self.retire().unwrap_or(bus);
        let exposed = self.exposed_at(bus);
        // SAFETY: the device was attached by the safe `attach`, so it is confined.
        unsafe { self.confined.edu().store_at(bus, TRANSFER_BYTES as u64) }?;
        match self.mapped_at(bus) {
            Some((n, offset)) if is_lent_to_write(self.live[n].mapping.direction()) => {
                self.report.allowed += 1;
                // Past the buffer's last byte the page's rest is written, which nobody looks at.
                let expected = &mut self.live[n].expected;
                let end = (offset + TRANSFER_BYTES).min(expected.len());
                if let Some(part) = expected.get_mut(offset..end) {
                    part.copy_from_slice(&sent[..end - offset]);
                }
            }
            _ => match exposed {
                Some((n, offset)) => {
                    self.report.exposed += 1;
                    let window = &mut self.windows[n];
                    if is_lent_to_write(window.direction) {
                        window.sent.push((offset, sent));
                    }
                }
                None => self.report.refused += 1,
            },
        }
        self.dead.iter().try_for_each(Dead::check)
    }

    fn read(&mut self) -> Result<(), Disagreement> {
        let bus = self.target();
        // A refused read leaves it, or brings all ones or zeros: nothing that lies anywhere.
        let mut before = [0; TRANSFER_BYTES];
        self.dice.fill(&mut before);
        self.confined.load_bytes(&before)?;
        let bus = self.retire().unwrap_or(bus);
        let exposed = self.exposed_at(bus);
        // SAFETY: the device was attached by the safe `attach`, so it is confined.
        unsafe { self.confined.edu().fetch_at(bus, TRANSFER_BYTES as u64) }?;
        let mut got = [0; TRANSFER_BYTES];
        self.confined.stored_bytes(&mut got)?;
        let mapped = self.mapped_at(bus);
        // Where tables know no pages that are only written, what is lent to be written can be read.
        let readable = self.confined.edu().device().permission(bus);
        let readable = readable.is_some_and(Permission::reads);
        if let Some((n, offset)) = mapped {
            let live = &self.live[n];
            if is_lent_to_read(live.mapping.direction()) && !readable {
                return Err(Disagreement::NotReadable { bus });
            }
            let lies_there = part(&live.expected, offset);
            if readable {
                self.report.allowed += 1;
                return match lies_there {
                    Some(bytes) if bytes != got => Err(Disagreement::ReadWrong { bus }),
                    _ => Ok(()),
                };
            }
            if lies_there == Some(&got[..]) {
                return Err(Disagreement::ReadForbidden { bus });
            }
        }
        if exposed.is_some() {
            self.report.exposed += 1;
        } else {
            self.report.refused += 1;
        }
        // Nor what lay there before, whenever that was, nor what the neighbour has there.
        let forbidden = self.dead.iter().any(|dead| {
            let offset = bus.as_u64().checked_sub(dead.bus.as_u64());
            offset.and_then(|offset| part(&dead.expected, offset as usize)) == Some(&got[..])
        });
        if forbidden || got == [NEIGHBOURS; TRANSFER_BYTES] {
            return Err(Disagreement::ReadForbidden { bus });
        }
        Ok(())
    }

    fn end(mut self) -> Result<DifferentialReport, Disagreement> {
        while !self.live.is_empty() {
            self.unmap(0)?;
        }
        while !self.windows.is_empty() {
            self.close(0)?;
        }
        self.dead.iter().try_for_each(Dead::check)?;
        let bus = self.lent.bus_addr();
        let lent = self.lent.unmap()?;
        let expected = vec![NEIGHBOURS; lent.as_slice().len()];
        compare(bus, lent.as_slice(), &expected, "the neighbour's")?;
        self.confined.stop().detach()?;
        self.neighbour.detach()?;
        Ok(self.report)
    }
}

// Said anew: the oracle does not ask the driver what a direction allows.

fn is_lent_to_read(direction: AnyDirection) -> bool {
    matches!(
        direction,
        AnyDirection::ToDevice | AnyDirection::Bidirectional
    )
}

fn is_lent_to_write(direction: AnyDirection) -> bool {
    matches!(
        direction,
        AnyDirection::FromDevice | AnyDirection::Bidirectional
    )
}

/// What a transfer from byte `offset` on moves, if the buffer holds all of it.
fn part(bytes: &[u8], offset: usize) -> Option<&[u8]> {
    bytes.get(offset..offset.checked_add(TRANSFER_BYTES)?)
}

/// What the neighbour's memory holds.
const NEIGHBOURS: u8 = 0x6e;

impl<P: Platform> Dead<P> {
    fn check(&self) -> Result<(), Disagreement> {
        let state = "after it was unmapped";
        compare(self.bus, self.buffer.as_slice(), &self.expected, state)
    }
}

fn compare(
    bus: BusAddr,
    found: &[u8],
    expected: &[u8],
    state: &'static str,
) -> Result<(), Disagreement> {
    if found == expected {
        return Ok(());
    }
    let pairs = found.iter().zip(expected).enumerate();
    let differs = pairs
        .into_iter()
        .find(|(_, (found, expected))| found != expected);
    let (offset, (&found, &expected)) = differs.unwrap_or((0, (&0, &0)));
    Err(Disagreement::Byte {
        bus,
        offset,
        found,
        expected,
        state,
    })
}
