//! A network device on a network that sends every frame back (5.1).

use std::collections::VecDeque;

use hw::virtio::net as layout;

use super::model::{Model, answer_each};
use super::queue::{Broken, DeviceQueue};

/// A locally administered address.
const MAC: [u8; 6] = [0x02, 0x64, 0x6d, 0x61, 0x70, 0x01];

/// Frames that wait for room; those beyond are lost, as on any network.
const WAITING_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Net {
    waiting: VecDeque<Vec<u8>>,
}

impl Net {
    fn send(&mut self, queue: &mut DeviceQueue) -> Result<u64, Broken> {
        answer_each(queue, |queue, buffer| {
            let bytes = queue.read(buffer)?;
            let frame = bytes.get(layout::HEADER_BYTES..);
            let frame = frame.ok_or_else(|| Broken::Driver("a frame without header".into()))?;
            if self.waiting.len() < WAITING_MAX {
                self.waiting.push_back(frame.to_vec());
            }
            Ok(0)
        })
    }

    fn receive(&mut self, queue: &mut DeviceQueue) -> Result<u64, Broken> {
        let mut count = 0;
        while !self.waiting.is_empty() {
            let Some(buffer) = queue.take()? else {
                break;
            };
            let frame = self.waiting.pop_front().unwrap_or_default();
            let mut bytes = vec![0; layout::HEADER_BYTES];
            bytes[layout::HEADER_NUM_BUFFERS] = 1;
            bytes.extend(frame);
            // Of a frame that is too long the end is lost.
            let written = queue.write(&buffer, &bytes)?;
            queue.give_back(&buffer, written)?;
            count += 1;
        }
        Ok(count)
    }
}

impl Model for Net {
    fn device_type(&self) -> u32 {
        layout::DEVICE_TYPE
    }

    fn name(&self) -> &'static str {
        "virtio-net"
    }

    fn features(&self) -> u64 {
        layout::MAC | layout::STATUS
    }

    fn config(&self) -> Vec<u8> {
        let mut config = MAC.to_vec();
        config.extend(layout::LINK_UP.to_le_bytes());
        config
    }

    fn queues(&self) -> u16 {
        2
    }

    fn work(&mut self, index: u16, queue: &mut DeviceQueue) -> Result<u64, Broken> {
        match index {
            layout::RECEIVE_QUEUE => self.receive(queue),
            _ => self.send(queue),
        }
    }

    fn next(&self, index: u16) -> Option<u16> {
        let comes_back = index == layout::TRANSMIT_QUEUE && !self.waiting.is_empty();
        comes_back.then_some(layout::RECEIVE_QUEUE)
    }

    fn reset(&mut self) {
        self.waiting.clear();
    }
}
