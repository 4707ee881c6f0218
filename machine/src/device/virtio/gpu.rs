//! A graphics adapter in two dimensions (5.7) with one screen, which whoever holds the machine can look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use hw::virtio::gpu::{self as layout, command, response};
use parking_lot::Mutex;

use super::model::{Model, answer_each};
use super::queue::{Broken, Buffer, DeviceQueue};
use crate::bus::BusRun;

/// Bytes of a pixel.
const PIXEL_BYTES: usize = 4;
/// Most pixels of a picture in either direction.
const MOST: u32 = 4096;
/// Most runs of memory that a picture takes.
const MOST_RUNS: usize = 1024;

/// What a screen shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Four bytes a pixel, row by row: blue, green, red, and one unused.
    pub pixels: Vec<u8>,
}

#[derive(Default)]
struct Resource {
    picture: Picture,
    backing: Vec<BusRun>,
}

#[derive(Clone, Copy)]
struct Rectangle {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

pub(super) struct Gpu {
    width: u32,
    height: u32,
    resources: BTreeMap<u32, Resource>,
    shown: u32,
    screen: Arc<Mutex<Option<Picture>>>,
}

/// A command's words behind the header.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u32, u32> {
        let (word, rest) = self
            .0
            .split_first_chunk()
            .ok_or(response::ERR_INVALID_PARAMETER)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }

    fn next_long(&mut self) -> Result<u64, u32> {
        Ok(u64::from(self.next()?) | u64::from(self.next()?) << 32)
    }

    fn rectangle(&mut self) -> Result<Rectangle, u32> {
        Ok(Rectangle {
            x: self.next()?,
            y: self.next()?,
            width: self.next()?,
            height: self.next()?,
        })
    }
}

impl Rectangle {
    /// Whether it is inside `picture`.
    fn check(self, picture: &Picture) -> Result<(), u32> {
        let inside =
            |start: u32, len: u32, most: u32| start.checked_add(len).is_some_and(|end| end <= most);
        match inside(self.x, self.width, picture.width)
            && inside(self.y, self.height, picture.height)
        {
            true => Ok(()),
            false => Err(response::ERR_INVALID_PARAMETER),
        }
    }
}

impl Gpu {
    pub(super) fn new(width: u32, height: u32, screen: Arc<Mutex<Option<Picture>>>) -> Self {
        Self {
            width,
            height,
            resources: BTreeMap::new(),
            shown: 0,
            screen,
        }
    }

    /// Answers a request of the control queue.
    fn control(&mut self, queue: &DeviceQueue, buffer: &Buffer) -> Result<u32, Broken> {
        let request = queue.read(buffer)?;
        let short = || Broken::Driver("a request without header".into());
        let (header, body) = request
            .split_first_chunk::<{ layout::HEADER_BYTES }>()
            .ok_or_else(short)?;
        let mut words = Words(body);
        let kind = Words(header).next().unwrap_or_default();
        let mut rest = Vec::new();
        let done = match kind {
            command::GET_DISPLAY_INFO => {
                rest = self.displays();
                Ok(response::OK_DISPLAY_INFO)
            }
            command::TRANSFER_TO_HOST_2D => self.transfer(queue, &mut words)?,
            _ => self.change(kind, &mut words),
        };
        let kind = done.unwrap_or_else(|refusal| refusal);
        let mut answer = header.to_vec();
        answer[layout::HEADER_TYPE..][..4].copy_from_slice(&kind.to_le_bytes());
        answer.extend(rest);
        queue.write(buffer, &answer)
    }

    fn displays(&self) -> Vec<u8> {
        let mut bytes = vec![0; layout::MAX_SCANOUTS * layout::DISPLAY_BYTES];
        for (index, word) in [0, 0, self.width, self.height, 1].into_iter().enumerate() {
            bytes[4 * index..][..4].copy_from_slice(&u32::to_le_bytes(word));
        }
        bytes
    }

    /// Commands that need no memory.
    fn change(&mut self, kind: u32, words: &mut Words<'_>) -> Result<u32, u32> {
        match kind {
            command::RESOURCE_CREATE_2D => {
                let (id, format) = (words.next()?, words.next()?);
                let (width, height) = (words.next()?, words.next()?);
                if id == 0 || self.resources.contains_key(&id) {
                    return Err(response::ERR_INVALID_RESOURCE_ID);
                }
                let is_size = (1..=MOST).contains(&width) && (1..=MOST).contains(&height);
                if !layout::FORMATS_BGR.contains(&format) || !is_size {
                    return Err(response::ERR_INVALID_PARAMETER);
                }
                let picture = Picture {
                    width,
                    height,
                    pixels: vec![0; width as usize * height as usize * PIXEL_BYTES],
                };
                let backing = Vec::new();
                self.resources.insert(id, Resource { picture, backing });
            }
            command::RESOURCE_UNREF => {
                let id = words.next()?;
                self.resources
                    .remove(&id)
                    .ok_or(response::ERR_INVALID_RESOURCE_ID)?;
                if self.shown == id {
                    self.shown = 0;
                }
            }
            command::SET_SCANOUT => {
                let rectangle = words.rectangle()?;
                let (scanout, id) = (words.next()?, words.next()?);
                if scanout != 0 {
                    return Err(response::ERR_INVALID_SCANOUT_ID);
                }
                if id != 0 {
                    rectangle.check(&self.resource(id)?.picture)?;
                } else {
                    *self.screen.lock() = None;
                }
                self.shown = id;
            }
            command::RESOURCE_FLUSH => {
                let rectangle = words.rectangle()?;
                let id = words.next()?;
                let shown = self.shown;
                let picture = &self.resource(id)?.picture;
                rectangle.check(picture)?;
                if shown == id {
                    let picture = picture.clone();
                    *self.screen.lock() = Some(picture);
                }
            }
            command::RESOURCE_ATTACH_BACKING => {
                let (id, count) = (words.next()?, words.next()? as usize);
                if count > MOST_RUNS {
                    return Err(response::ERR_INVALID_PARAMETER);
                }
                let mut backing = Vec::new();
                for _ in 0..count {
                    let (bus, len) = (words.next_long()?, words.next()?);
                    words.next()?;
                    backing.push(BusRun {
                        bus,
                        len_bytes: len.into(),
                    });
                }
                let resource = self.resource(id)?;
                if !resource.backing.is_empty() {
                    return Err(response::ERR_UNSPEC);
                }
                resource.backing = backing;
            }
            command::RESOURCE_DETACH_BACKING => {
                let id = words.next()?;
                self.resource(id)?.backing.clear();
            }
            _ => return Err(response::ERR_UNSPEC),
        }
        Ok(response::OK_NODATA)
    }

    /// Reads a rectangle of a picture from memory. The rows of a picture follow each other there.
    fn transfer(
        &mut self,
        queue: &DeviceQueue,
        words: &mut Words<'_>,
    ) -> Result<Result<u32, u32>, Broken> {
        let (rectangle, offset, resource) = match self.transferred(words) {
            Ok(transferred) => transferred,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Resource { picture, backing } = resource;
        let stride = picture.width as usize * PIXEL_BYTES;
        let row_bytes = rectangle.width as usize * PIXEL_BYTES;
        for row in 0..rectangle.height as usize {
            let to = (rectangle.y as usize + row) * stride + rectangle.x as usize * PIXEL_BYTES;
            let into = &mut picture.pixels[to..to + row_bytes];
            let from = offset.saturating_add((row * stride) as u64);
            if !read_backing(queue, backing, from, into)? {
                return Ok(Err(response::ERR_INVALID_PARAMETER));
            }
        }
        Ok(Ok(response::OK_NODATA))
    }

    /// What a transfer is of: the rectangle, the offset in memory, the picture.
    fn transferred(
        &mut self,
        words: &mut Words<'_>,
    ) -> Result<(Rectangle, u64, &mut Resource), u32> {
        let rectangle = words.rectangle()?;
        let offset = words.next_long()?;
        let resource = self.resource(words.next()?)?;
        rectangle.check(&resource.picture)?;
        Ok((rectangle, offset, resource))
    }

    fn resource(&mut self, id: u32) -> Result<&mut Resource, u32> {
        self.resources
            .get_mut(&id)
            .ok_or(response::ERR_INVALID_RESOURCE_ID)
    }

    /// Looks at a request of the cursor queue, which has no answer.
    fn cursor(&mut self, queue: &DeviceQueue, buffer: &Buffer) -> Result<u32, Broken> {
        let request = queue.read(buffer)?;
        let kind = Words(&request).next().unwrap_or_default();
        match kind {
            command::UPDATE_CURSOR | command::MOVE_CURSOR => Ok(0),
            _ => Err(Broken::Driver(format!(
                "{kind:#x} is nothing a cursor does"
            ))),
        }
    }
}

/// Reads `into` from byte `from` of `backing`; `false` where it is too short.
fn read_backing(
    queue: &DeviceQueue,
    backing: &[BusRun],
    from: u64,
    into: &mut [u8],
) -> Result<bool, Broken> {
    let mut skip = from;
    let mut rest = into;
    for run in backing {
        if rest.is_empty() {
            break;
        }
        if skip >= run.len_bytes {
            skip -= run.len_bytes;
            continue;
        }
        let len = rest.len().min((run.len_bytes - skip) as usize);
        let (part, after) = rest.split_at_mut(len);
        queue
            .memory()
            .port()
            .read(run.bus.wrapping_add(skip), part)?;
        (skip, rest) = (0, after);
    }
    Ok(rest.is_empty())
}

impl Model for Gpu {
    fn device_type(&self) -> u32 {
        layout::DEVICE_TYPE
    }

    fn name(&self) -> &'static str {
        "virtio-gpu"
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; layout::CONFIG_BYTES];
        config[layout::CONFIG_NUM_SCANOUTS] = 1;
        config
    }

    fn queues(&self) -> u16 {
        2
    }

    fn work(&mut self, index: u16, queue: &mut DeviceQueue) -> Result<u64, Broken> {
        answer_each(queue, |queue, buffer| match index {
            layout::CONTROL_QUEUE => self.control(queue, buffer),
            _ => self.cursor(queue, buffer),
        })
    }

    fn reset(&mut self) {
        self.resources.clear();
        self.shown = 0;
        *self.screen.lock() = None;
    }
}
