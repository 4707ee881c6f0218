//! A disk over a file of the host (5.2).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use hw::virtio::block as layout;

use super::model::{Model, answer_each};
use super::queue::{Broken, Buffer, DeviceQueue};
use crate::device::nvme::Medium;

/// The name of every disk.
const ID: &[u8] = b"machine-virtio-disk";

pub(super) struct Block {
    file: File,
    sectors: u64,
    medium: Medium,
}

impl Block {
    pub(super) fn new(file: File, medium: Medium) -> io::Result<Self> {
        let sectors = file.metadata()?.len() / layout::SECTOR_BYTES;
        Ok(Self {
            file,
            sectors,
            medium,
        })
    }

    fn request(&self, queue: &DeviceQueue, buffer: &Buffer) -> Result<u32, Broken> {
        let request = queue.read(buffer)?;
        let too_short = || Broken::Driver("a request without header or status".into());
        let (header, data) = request
            .split_first_chunk::<{ layout::HEADER_BYTES }>()
            .ok_or_else(too_short)?;
        let room = buffer
            .writable_bytes()
            .checked_sub(1)
            .ok_or_else(too_short)?;
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four"));
        let sector = u64::from(number(layout::HEADER_SECTOR))
            | u64::from(number(layout::HEADER_SECTOR + 4)) << 32;
        let mut answer = Vec::new();
        let status = match number(0) {
            layout::IN => {
                answer.resize(room as usize, 0);
                self.transfer(sector, room, |at| self.file.read_exact_at(&mut answer, at))
            }
            layout::OUT if self.medium == Medium::ReadOnly => layout::STATUS_IO_ERROR,
            layout::OUT => self.transfer(sector, data.len() as u64, |at| {
                self.file.write_all_at(data, at)
            }),
            layout::FLUSH_REQUEST => match self.file.sync_data() {
                Ok(()) => layout::STATUS_OK,
                Err(_) => layout::STATUS_IO_ERROR,
            },
            layout::GET_ID => {
                answer.extend(ID);
                answer.resize(layout::ID_BYTES.min(room as usize), 0);
                layout::STATUS_OK
            }
            _ => layout::STATUS_UNSUPPORTED,
        };
        answer.resize(room as usize, 0);
        answer.push(status);
        queue.write(buffer, &answer)
    }

    fn transfer(
        &self,
        sector: u64,
        len_bytes: u64,
        with: impl FnOnce(u64) -> io::Result<()>,
    ) -> u8 {
        let end = sector.checked_add(len_bytes / layout::SECTOR_BYTES);
        let fits = len_bytes.is_multiple_of(layout::SECTOR_BYTES)
            && end.is_some_and(|end| end <= self.sectors);
        match fits && with(sector * layout::SECTOR_BYTES).is_ok() {
            true => layout::STATUS_OK,
            false => layout::STATUS_IO_ERROR,
        }
    }
}

impl Model for Block {
    fn device_type(&self) -> u32 {
        layout::DEVICE_TYPE
    }

    fn name(&self) -> &'static str {
        "virtio-blk"
    }

    fn features(&self) -> u64 {
        match self.medium {
            Medium::ReadOnly => layout::FLUSH | layout::READ_ONLY,
            Medium::ReadWrite => layout::FLUSH,
        }
    }

    fn config(&self) -> Vec<u8> {
        // The capacity, and what only features that are not offered speak of.
        let mut config = vec![0; 0x24];
        config[..8].copy_from_slice(&self.sectors.to_le_bytes());
        config
    }

    fn queues(&self) -> u16 {
        1
    }

    fn work(&mut self, _index: u16, queue: &mut DeviceQueue) -> Result<u64, Broken> {
        answer_each(queue, |queue, buffer| self.request(queue, buffer))
    }

    fn reset(&mut self) {}
}
