//! Frames, the CPU's way to them, and the way back.

use alloc::vec::Vec;
use core::ptr::NonNull;

use dmamap::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{FrameRequest, Platform};

use super::Violation;

/// Shapes of requests: counts that are and are not powers of two, and alignments above the size.
const SHAPES: [(usize, u32); 7] = [
    (1, FRAME_SIZE_LOG2),
    (2, FRAME_SIZE_LOG2),
    (3, FRAME_SIZE_LOG2),
    (1, 16),
    (5, 14),
    (16, 16),
    (64, FRAME_SIZE_LOG2),
];

/// Frames that are taken and given back in a round: those of all rounds are more than the machine has.
const FRAMES_A_ROUND: usize = 64;

/// Returns how many frames were looked at.
pub(super) fn check<P: Platform>(platform: P) -> Result<usize, Violation> {
    let ram = memory_map(platform)?;
    let lent = lend_every_shape(platform, &ram)?;
    every_byte_is_its_own(platform, &lent)?;
    both_ways_agree(platform, &lent)?;
    side_by_side(platform, &lent)?;
    let frames = lent.iter().map(|range| range.len_bytes() / FRAME_BYTES);
    let frames: u64 = frames.sum();
    for range in lent {
        // SAFETY: lent above as one range, and nothing refers to it any more.
        unsafe { platform.free_frames(range) };
    }
    impossible_requests_are_refused(platform, &ram)?;
    given_back_is_lent_again(platform, &ram)?;
    Ok(frames as usize)
}

fn memory_map<P: Platform>(platform: P) -> Result<Vec<PhysRange>, Violation> {
    let mut ram: Vec<PhysRange> = Vec::new();
    platform.memory_map(&mut |range| ram.push(range));
    for (n, &range) in ram.iter().enumerate() {
        let follows = n == 0 || ram[n - 1].last() < range.start();
        if range.is_empty() || !follows {
            return Err(Violation::MemoryMap { range });
        }
    }
    match ram.is_empty() {
        true => Err(Violation::TooLittle { what: "RAM" }),
        false => Ok(ram),
    }
}

fn lend<P: Platform>(
    platform: P,
    ram: &[PhysRange],
    request: FrameRequest,
) -> Result<Option<PhysRange>, Violation> {
    let Ok(frames) = platform.allocate_frames(request) else {
        return Ok(None);
    };
    let as_requested = frames.len_bytes() == request.count as u64 * FRAME_BYTES
        && frames.start().is_aligned(request.align_log2)
        && frames.last() <= request.last;
    if !as_requested {
        return Err(Violation::NotAsRequested { request, frames });
    }
    // Ranges that touch are one memory.
    let held = ram.iter().filter(|range| range.overlaps(frames));
    let held: u64 = held
        .map(|range| {
            let first = range.start().max(frames.start()).as_u64();
            range.last().min(frames.last()).as_u64() - first + 1
        })
        .sum();
    if held != frames.len_bytes() {
        return Err(Violation::NotRam { frames });
    }
    Ok(Some(frames))
}

fn lend_every_shape<P: Platform>(
    platform: P,
    ram: &[PhysRange],
) -> Result<Vec<PhysRange>, Violation> {
    let highest = ram.last().map_or(PhysAddr::new(0), |range| range.last());
    // Half of memory, where there is some: a limit that means something.
    let low = PhysAddr::new(highest.as_u64() / 2);
    let mut lent: Vec<PhysRange> = Vec::new();
    for (count, align_log2) in SHAPES {
        for last in [PhysAddr::new(u64::MAX), low] {
            let request = FrameRequest {
                count,
                align_log2,
                last,
                node: None,
            };
            let Some(frames) = lend(platform, ram, request)? else {
                continue;
            };
            if let Some(&other) = lent.iter().find(|other| other.overlaps(frames)) {
                return Err(Violation::LentTwice { frames, other });
            }
            lent.push(frames);
        }
    }
    match lent.len() < 2 {
        true => Err(Violation::TooLittle { what: "frames" }),
        false => Ok(lent),
    }
}

/// Something that no other address has.
fn mark(phys: u64) -> u64 {
    phys.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995
}

fn frames_of(lent: &[PhysRange]) -> impl Iterator<Item = PhysAddr> + '_ {
    let starts = |range: &PhysRange| {
        let start = range.start().as_u64();
        (start..=range.last().as_u64()).step_by(FRAME_BYTES as usize)
    };
    lent.iter().flat_map(starts).map(PhysAddr::new)
}

/// Words of a frame that are looked at: its first, its last, and one in between.
const WORDS: [usize; 3] = [0, 1000, FRAME_BYTES as usize - 8];

fn word(pointer: NonNull<u8>, offset: usize) -> *mut u64 {
    pointer.as_ptr().wrapping_add(offset).cast()
}

fn every_byte_is_its_own<P: Platform>(platform: P, lent: &[PhysRange]) -> Result<(), Violation> {
    // All are written before any is read: two that are one show.
    for phys in frames_of(lent) {
        let pointer = platform.frame_pointer(phys);
        for offset in WORDS {
            let value = mark(phys.as_u64() + offset as u64);
            // SAFETY: the frame is lent to us, whole, and nobody else's; the offset is a word of it.
            unsafe { word(pointer, offset).write_volatile(value) };
        }
    }
    for phys in frames_of(lent) {
        let pointer = platform.frame_pointer(phys);
        for offset in WORDS {
            // SAFETY: as above.
            let found = unsafe { word(pointer, offset).read_volatile() };
            if found != mark(phys.as_u64() + offset as u64) {
                return Err(Violation::NotMemory { phys });
            }
        }
    }
    Ok(())
}

fn expect<P: Platform>(
    platform: P,
    virt: VirtAddr,
    expected: Option<PhysAddr>,
) -> Result<(), Violation> {
    let found = platform.virt_to_phys(virt);
    match found == expected {
        true => Ok(()),
        false => Err(Violation::WrongPhys {
            virt,
            expected,
            found,
        }),
    }
}

fn virt_at(pointer: NonNull<u8>, offset: usize) -> VirtAddr {
    VirtAddr::from_ptr(pointer.as_ptr().wrapping_add(offset))
}

fn both_ways_agree<P: Platform>(platform: P, lent: &[PhysRange]) -> Result<(), Violation> {
    for phys in frames_of(lent) {
        let pointer = platform.frame_pointer(phys);
        for offset in [0, 1, 2049, FRAME_BYTES as usize - 1] {
            let there = phys.checked_add(offset as u64);
            expect(platform, virt_at(pointer, offset), there)?;
        }
    }
    // What no device may be given: a stack, an image.
    static IMAGE: u64 = 0;
    let stack = 0_u64;
    expect(platform, VirtAddr::from_ptr(&raw const stack), None)?;
    expect(platform, VirtAddr::from_ptr(&raw const IMAGE), None)
}

fn side_by_side<P: Platform>(platform: P, lent: &[PhysRange]) -> Result<(), Violation> {
    // Backwards, so that frames which follow each other in memory do not here.
    let mut frames: Vec<PhysAddr> = frames_of(lent).take(9).collect();
    frames.reverse();
    // SAFETY: each frame is lent to us until after the mapping is undone.
    let start = unsafe { platform.map_scattered(&frames) }.map_err(Violation::Scattered)?;
    let outcome = (|| {
        for (n, &phys) in frames.iter().enumerate() {
            for within in WORDS {
                let offset = n * FRAME_BYTES as usize + within;
                let elsewhere = Err(Violation::ScatteredElsewhere { offset });
                let frame = platform.frame_pointer(phys);
                let value = mark(!(offset as u64));
                // SAFETY: the frame is ours, and mapped at `offset`; both pointers lead to it.
                let seen = unsafe {
                    word(start, offset).write_volatile(value);
                    word(frame, within).read_volatile()
                };
                if seen != value {
                    return elsewhere;
                }
                let there = phys.checked_add(within as u64);
                expect(platform, virt_at(start, offset), there)?;
            }
        }
        Ok(())
    })();
    // SAFETY: mapped above, and no pointer into it is used any more.
    unsafe { platform.unmap_scattered(start, frames.len()) };
    outcome
}

fn impossible_requests_are_refused<P: Platform>(
    platform: P,
    ram: &[PhysRange],
) -> Result<(), Violation> {
    let more_than_all = FrameRequest::new(frames_in(ram) + 1);
    let below_everything = FrameRequest {
        last: PhysAddr::new(FRAME_BYTES - 2),
        ..FrameRequest::new(1)
    };
    for request in [more_than_all, below_everything] {
        if let Ok(frames) = platform.allocate_frames(request) {
            return Err(Violation::NotAsRequested { request, frames });
        }
    }
    Ok(())
}

/// A port that keeps what it was given back has nothing left in the last round, however much memory there is.
fn given_back_is_lent_again<P: Platform>(platform: P, ram: &[PhysRange]) -> Result<(), Violation> {
    for rounds in 0..=frames_in(ram) / FRAMES_A_ROUND {
        match platform.allocate_frames(FrameRequest::new(FRAMES_A_ROUND)) {
            // SAFETY: just lent, and nothing refers to it.
            Ok(frames) => unsafe { platform.free_frames(frames) },
            Err(_) => return Err(Violation::FramesLost { rounds }),
        }
    }
    Ok(())
}

fn frames_in(ram: &[PhysRange]) -> usize {
    let bytes: u64 = ram.iter().map(|range| range.len_bytes()).sum();
    (bytes / FRAME_BYTES) as usize
}
