use std::ptr::NonNull;
use std::rc::Rc;

use dmamap::addr::{PhysRange, VirtAddr};
use dmamap::buffer::DmaMemory;

struct Shared(Rc<[u8]>);

// SAFETY: none.
unsafe impl DmaMemory for Shared {
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }
    fn virt(&self) -> VirtAddr {
        unimplemented!()
    }
    fn pointer(&self) -> NonNull<u8> {
        unimplemented!()
    }
    fn segment(&self, _: u64) -> PhysRange {
        unimplemented!()
    }
}

fn main() {}
