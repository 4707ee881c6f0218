//! What one type of virtio device does, behind the transport that all have.

use super::queue::{Broken, Buffer, DeviceQueue};

/// A type of device.
pub(super) trait Model: Send {
    /// Its device type (5).
    fn device_type(&self) -> u32;

    /// For messages.
    fn name(&self) -> &'static str;

    /// Features of its type.
    fn features(&self) -> u64;

    /// Its configuration.
    fn config(&self) -> Vec<u8>;

    /// How many queues it has.
    fn queues(&self) -> u16;

    /// Works on `queue`, which is number `index`: how many buffers it gave back.
    fn work(&mut self, index: u16, queue: &mut DeviceQueue) -> Result<u64, Broken>;

    /// A queue for which there may be something to do now that another one was worked on.
    fn next(&self, index: u16) -> Option<u16> {
        let _ = index;
        None
    }

    /// As after power-on.
    fn reset(&mut self);
}

/// Answers each new buffer of `queue` as `answer` says; how many.
pub(super) fn answer_each(
    queue: &mut DeviceQueue,
    mut answer: impl FnMut(&DeviceQueue, &Buffer) -> Result<u32, Broken>,
) -> Result<u64, Broken> {
    let mut count = 0;
    while let Some(buffer) = queue.take()? {
        let written = answer(queue, &buffer)?;
        queue.give_back(&buffer, written)?;
        count += 1;
    }
    Ok(count)
}
