//! An entropy device (5.4) that gives as little as it may.

use hw::virtio::entropy as layout;

use super::model::{Model, answer_each};
use super::queue::{Broken, DeviceQueue};
use crate::temper::Dice;

/// Most bytes of one answer.
const MOST: u64 = 512;

pub(super) struct Entropy {
    dice: Dice,
}

impl Entropy {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
        }
    }
}

impl Model for Entropy {
    fn device_type(&self) -> u32 {
        layout::DEVICE_TYPE
    }

    fn name(&self) -> &'static str {
        "virtio-rng"
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    fn queues(&self) -> u16 {
        1
    }

    fn work(&mut self, _index: u16, queue: &mut DeviceQueue) -> Result<u64, Broken> {
        answer_each(queue, |queue, buffer| {
            let most = buffer.writable_bytes().min(MOST);
            if most == 0 {
                return Err(Broken::Driver("a request with room for nothing".into()));
            }
            let len = 1 + self.dice.below(most);
            let bytes: Vec<u8> = (0..len).map(|_| self.dice.next_u64() as u8).collect();
            queue.write(buffer, &bytes)
        })
    }

    fn reset(&mut self) {}
}
