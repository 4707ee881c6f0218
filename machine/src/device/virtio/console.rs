//! A console of one port (5.3): connected to itself, or to whoever holds the machine.

use std::collections::VecDeque;
use std::sync::Arc;

use hw::virtio::console as layout;
use parking_lot::Mutex;

use super::model::{Model, answer_each};
use super::queue::{Broken, DeviceQueue};

const COLUMNS: u16 = 80;
const ROWS: u16 = 25;

/// What a console is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleEnd {
    /// Itself: what is sent comes back.
    Loop,
    /// [`VirtioDevice::type_in`](super::VirtioDevice::type_in) and [`VirtioDevice::said`](super::VirtioDevice::said).
    Host,
}

/// The bytes between a console and what it is connected to.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) to_device: VecDeque<u8>,
    pub(super) from_device: Vec<u8>,
}

pub(super) struct Console {
    end: ConsoleEnd,
    line: Arc<Mutex<Line>>,
}

impl Console {
    pub(super) fn new(end: ConsoleEnd, line: Arc<Mutex<Line>>) -> Self {
        Self { end, line }
    }

    fn receive(&mut self, queue: &mut DeviceQueue) -> Result<u64, Broken> {
        let mut count = 0;
        while !self.line.lock().to_device.is_empty() {
            let Some(buffer) = queue.take()? else {
                break;
            };
            let bytes: Vec<u8> = {
                let mut line = self.line.lock();
                let len = line.to_device.len().min(buffer.writable_bytes() as usize);
                line.to_device.drain(..len).collect()
            };
            let written = queue.write(&buffer, &bytes)?;
            queue.give_back(&buffer, written)?;
            count += 1;
        }
        Ok(count)
    }
}

impl Model for Console {
    fn device_type(&self) -> u32 {
        layout::DEVICE_TYPE
    }

    fn name(&self) -> &'static str {
        "virtio-console"
    }

    fn features(&self) -> u64 {
        layout::SIZE
    }

    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 12];
        config[layout::CONFIG_COLUMNS..][..2].copy_from_slice(&COLUMNS.to_le_bytes());
        config[layout::CONFIG_ROWS..][..2].copy_from_slice(&ROWS.to_le_bytes());
        config
    }

    fn queues(&self) -> u16 {
        2
    }

    fn work(&mut self, index: u16, queue: &mut DeviceQueue) -> Result<u64, Broken> {
        if index == layout::RECEIVE_QUEUE {
            return self.receive(queue);
        }
        answer_each(queue, |queue, buffer| {
            let bytes = queue.read(buffer)?;
            let mut line = self.line.lock();
            match self.end {
                ConsoleEnd::Loop => line.to_device.extend(bytes),
                ConsoleEnd::Host => line.from_device.extend(bytes),
            }
            Ok(0)
        })
    }

    fn next(&self, index: u16) -> Option<u16> {
        let comes_back = index == layout::TRANSMIT_QUEUE && self.end == ConsoleEnd::Loop;
        comes_back.then_some(layout::RECEIVE_QUEUE)
    }

    fn reset(&mut self) {
        if self.end == ConsoleEnd::Loop {
            self.line.lock().to_device.clear();
        }
    }
}
