use std::ptr::NonNull;

use dmamap::addr::{PhysRange, VirtAddr};
use dmamap::buffer::DmaMemory;

struct Stack([u8; 4096]);

impl DmaMemory for Stack {
    fn len_bytes(&self) -> u64 {
        4096
    }
    fn virt(&self) -> VirtAddr {
        VirtAddr::from_ptr(&self.0)
    }
    fn pointer(&self) -> NonNull<u8> {
        NonNull::from(&self.0).cast()
    }
    fn segment(&self, _: u64) -> PhysRange {
        unimplemented!()
    }
}

fn main() {}
