//! What keeps misuse from compiling: each mutation lets one case of `misuse/tests/compile_fail` compile.

use super::super::mutation::{Mutation, Selection, Test};

const ADDR: &str = "dmamap/src/addr.rs";
const VIEW: &str = "dmamap/src/map/view.rs";
const SPAN: &str = "dmamap/src/map/iova_span/mod.rs";
const PUBLISH: &str = "dmamap/src/map/coherent/publish.rs";

const fn misuse(name: &'static str) -> Test {
    Test::misuse("misuse", name)
}

pub(super) const ALL: &[Mutation] = &[
    Mutation {
        name: "vectors-taken-for-dma-memory",
        selection: Selection::Whole,
        file: "dmamap/src/buffer.rs",
        find: "unsafe impl<B: DmaMemory + ?Sized> DmaMemory for Box<B> {",
        replace: "unsafe impl DmaMemory for alloc::vec::Vec<u8> {
            fn len_bytes(&self) -> u64 { self.len() as u64 }
            fn virt(&self) -> VirtAddr { VirtAddr::from_ptr(self.as_ptr()) }
            fn pointer(&self) -> NonNull<u8> { NonNull::from(self.as_slice()).cast() }
            fn segment(&self, _: u64) -> PhysRange { unimplemented!() }
        }
        unsafe impl<B: DmaMemory + ?Sized> DmaMemory for Box<B> {",
        why: "a device is given memory of a heap that is no memory for devices",
        caught_by: &[misuse("mapping_a_vector")],
    },
    Mutation {
        name: "physical-address-becomes-a-bus-address",
        selection: Selection::Whole,
        file: ADDR,
        find: "impl VirtAddr {",
        replace: "impl From<PhysAddr> for BusAddr {
            fn from(phys: PhysAddr) -> Self { Self(phys.0) }
        }
        impl VirtAddr {",
        why: "a device is told where memory is instead of where it reaches it",
        caught_by: &[misuse("making_a_bus_address_of_a_physical_one")],
    },
    Mutation {
        name: "bus-address-becomes-a-physical-address",
        selection: Selection::Whole,
        file: ADDR,
        find: "impl VirtAddr {",
        replace: "impl From<BusAddr> for PhysAddr {
            fn from(bus: BusAddr) -> Self { Self(bus.0) }
        }
        impl VirtAddr {",
        why: "the CPU uses an address that means something to one device only",
        caught_by: &[misuse("making_a_physical_address_of_a_bus_one")],
    },
    Mutation {
        name: "addresses-of-two-kinds-compared",
        selection: Selection::Whole,
        file: ADDR,
        find: "impl VirtAddr {",
        replace: "impl PartialEq<BusAddr> for PhysAddr {
            fn eq(&self, bus: &BusAddr) -> bool { self.0 == bus.0 }
        }
        impl VirtAddr {",
        why: "numbers of two address spaces are taken for one",
        caught_by: &[misuse("comparing_addresses_of_different_kinds")],
    },
    Mutation {
        name: "failure-told-by-an-address",
        selection: Selection::Whole,
        file: "dmamap/src/map/raw/single.rs",
        find: ") -> Result<BusRange, MapError> {
        unsafe { self.map_page_attrs(frame, offset, len_bytes, direction, Attributes::NONE) }",
        replace: ") -> BusRange {
        let outcome =
            unsafe { self.map_page_attrs(frame, offset, len_bytes, direction, Attributes::NONE) };
        outcome.unwrap_or(BusRange::new(crate::addr::BusAddr::new(u64::MAX), 0).unwrap())",
        why: "who does not look hands the device an address that means failure",
        caught_by: &[misuse("using_an_address_without_asking_whether_it_is_one")],
    },
    Mutation {
        name: "mapping-can-be-cloned",
        selection: Selection::Whole,
        file: "dmamap/src/map/single.rs",
        find: "impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for Mapping<P, B, D> {",
        replace: "impl<P: Platform, B: DmaMemory, D: Direction> Clone for Mapping<P, B, D> {
            fn clone(&self) -> Self { unsafe { core::ptr::read(self) } }
        }
        impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for Mapping<P, B, D> {",
        why: "a mapping is unmapped twice, the second time as somebody else's",
        caught_by: &[misuse("cloning_a_mapping")],
    },
    Mutation {
        name: "unmap-leaves-the-mapping-of-a-list",
        selection: Selection::Whole,
        file: "dmamap/src/map/sgtable.rs",
        find: "pub fn unmap(mut self) -> Result<ScatterList<B>, Quarantined> {
        let (live, list) = self
            .parts
            .take()
            .expect(",
        replace: "pub fn unmap(&self) -> Result<ScatterList<B>, Quarantined> {
        let (live, list) = unsafe { core::ptr::read(&self.parts) }
            .expect(",
        why: "a list is unmapped twice, the second time as somebody else's",
        caught_by: &[misuse("unmapping_a_list_of_buffers_twice")],
    },
    Mutation {
        name: "list-mapped-by-reference",
        selection: Selection::Whole,
        file: "dmamap/src/map/sgtable.rs",
        find: "pub fn map_sgtable<B: DmaMemory, D: Direction>(
        &self,
        list: ScatterList<B>,
        direction: D,
    ) -> Result<SgTableMapping<P, B, D>, Rejected<ScatterList<B>>> {
        self.map_sgtable_attrs(list, direction, Attributes::NONE)",
        replace: "pub fn map_sgtable<B: DmaMemory, D: Direction>(
        &self,
        list: impl core::borrow::Borrow<ScatterList<B>>,
        direction: D,
    ) -> Result<SgTableMapping<P, B, D>, Rejected<ScatterList<B>>> {
        let list = unsafe { core::ptr::read(list.borrow()) };
        self.map_sgtable_attrs(list, direction, Attributes::NONE)",
        why: "a list that is mapped is mapped again, and written through its entries",
        caught_by: &[misuse("mapping_a_list_by_reference")],
    },
    Mutation {
        name: "writes-in-every-direction",
        selection: Selection::Whole,
        file: VIEW,
        find: "pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutOfBounds>
    where
        D: DeviceReads,
    {",
        replace: "pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {",
        why: "what the CPU writes never reaches a device that was mapped to write",
        caught_by: &[misuse("writing_what_only_the_device_writes")],
    },
    Mutation {
        name: "reads-in-every-direction",
        selection: Selection::Whole,
        file: VIEW,
        find: "pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfBounds>
    where
        D: DeviceWrites,
    {",
        replace: "pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {",
        why: "a driver waits for what the device was not allowed to write",
        caught_by: &[misuse("reading_what_only_the_device_reads")],
    },
    Mutation {
        name: "directions-not-sealed",
        selection: Selection::Whole,
        file: "dmamap/src/map/direction.rs",
        find: "pub trait Direction: sealed::Sealed + Copy",
        replace: "pub trait Direction: Copy",
        why: "a direction of somebody's own permits what its name does not say",
        caught_by: &[misuse("inventing_a_direction")],
    },
    Mutation {
        name: "slices-outlive-their-buffer",
        selection: Selection::Whole,
        file: "dmamap/src/buffer/contiguous.rs",
        find: "pub fn as_slice(&self) -> &[u8] {
        self.bytes.as_slice()",
        replace: "pub fn as_slice<'a>(&self) -> &'a [u8] {
        unsafe { core::mem::transmute::<&[u8], &'a [u8]>(self.bytes.as_slice()) }",
        why: "the CPU reads by a reference what a device writes",
        caught_by: &[misuse("keeping_a_slice_of_a_buffer_that_is_mapped")],
    },
    Mutation {
        name: "views-outlive-their-mapping",
        selection: Selection::Whole,
        file: "dmamap/src/map/single.rs",
        find: "pub fn sync_for_cpu(&mut self) -> CpuView<'_, P, D> {
        self.owned.sync_for_cpu()",
        replace: "pub fn sync_for_cpu<'a>(&mut self) -> CpuView<'a, P, D> {
        unsafe { core::mem::transmute::<CpuView<'_, P, D>, CpuView<'a, P, D>>(self.owned.sync_for_cpu()) }",
        why: "a view of memory that is somebody else's by now is read, and handed to the device when it ends",
        caught_by: &[
            misuse("keeping_a_view_past_unmap"),
            misuse("two_views_at_once"),
        ],
    },
    Mutation {
        name: "coherent-memory-freed-by-reference",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/mod.rs",
        find: "pub fn free(mut self) -> Result<(), Quarantined> {
        self.end()",
        replace: "pub fn free(&self) -> Result<(), Quarantined> {
        unsafe { core::ptr::read(self) }.end()",
        why: "coherent memory is read after it was freed, and freed twice",
        caught_by: &[misuse("freeing_coherent_memory_twice")],
    },
    Mutation {
        name: "coherent-memory-mapped-again",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/mod.rs",
        find: "impl<P: Platform, T: Shared> Drop for Coherent<P, T> {",
        replace: "unsafe impl<P: Platform, T: Shared> crate::buffer::DmaMemory for Coherent<P, T> {
            fn len_bytes(&self) -> u64 { self.range().len_bytes() }
            fn virt(&self) -> crate::addr::VirtAddr { self.elements.virt() }
            fn pointer(&self) -> core::ptr::NonNull<u8> { self.elements.pointer() }
            fn segment(&self, _: u64) -> crate::addr::PhysRange { unimplemented!() }
        }
        impl<P: Platform, T: Shared> Drop for Coherent<P, T> {",
        why: "memory that is mapped past the caches is mapped and synced through them as well",
        caught_by: &[misuse("mapping_coherent_memory")],
    },
    Mutation {
        name: "pool-block-mapped-again",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/pool/block.rs",
        find: "impl<P: Platform, T: Shared> Drop for PoolBlock<P, T> {",
        replace: "unsafe impl<P: Platform, T: Shared> crate::buffer::DmaMemory for PoolBlock<P, T> {
            fn len_bytes(&self) -> u64 { self.range().len_bytes() }
            fn virt(&self) -> crate::addr::VirtAddr { self.elements.virt() }
            fn pointer(&self) -> core::ptr::NonNull<u8> { self.elements.pointer() }
            fn segment(&self, _: u64) -> crate::addr::PhysRange { unimplemented!() }
        }
        impl<P: Platform, T: Shared> Drop for PoolBlock<P, T> {",
        why: "memory that a pool shares with its device is mapped and synced as well",
        caught_by: &[misuse("mapping_a_pool_block")],
    },
    Mutation {
        name: "pool-block-freed-by-reference",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/pool/block.rs",
        find: "pub fn free(self) { drop(self);",
        replace: "pub fn free(&self) { drop(unsafe { core::ptr::read(self) });",
        why: "a block is freed twice, and two are given it",
        caught_by: &[misuse("freeing_a_pool_block_twice")],
    },
    Mutation {
        name: "pool-outlives-its-end",
        selection: Selection::Whole,
        file: "dmamap/src/map/coherent/pool/mod.rs",
        find: "pub fn destroy(self) -> Result<(), DestroyError<P, T>> {
        let live_blocks = self.core.state.lock().live_blocks;
        if live_blocks > 0 {
            return Err(DestroyError::InUse {
                pool: self,",
        replace: "pub fn destroy(&self) -> Result<(), DestroyError<P, T>> {
        let live_blocks = self.core.state.lock().live_blocks;
        if live_blocks > 0 {
            return Err(DestroyError::InUse {
                pool: unsafe { core::ptr::read(self) },",
        why: "a pool that was destroyed hands out memory",
        caught_by: &[misuse("allocating_from_a_destroyed_pool")],
    },
    Mutation {
        name: "span-tells-addresses-before-its-sync",
        selection: Selection::Whole,
        file: SPAN,
        find: "impl<P: Platform, B: DmaMemory, D: Direction> IovaSpan<P, B, D, Linked> {
        pub fn bus_addr(&self) -> BusAddr { self.range().start() }
        pub fn range(&self) -> BusRange { self.parts().linked() }",
        replace: "impl<P: Platform, B: DmaMemory, D: Direction, S: SpanState> IovaSpan<P, B, D, S> {
            /// Z of the first byte.
            pub fn bus_addr(&self) -> BusAddr { self.range().start() }
            /// All of Z.
            pub fn range(&self) -> BusRange { self.parts().linked() }
        }
        impl<P: Platform, B: DmaMemory, D: Direction> IovaSpan<P, B, D, Linked> {",
        why: "the device is told of addresses that a unit still refuses",
        caught_by: &[misuse("using_a_span_before_it_is_synced")],
    },
    Mutation {
        name: "span-freed-in-every-state",
        selection: Selection::Whole,
        file: SPAN,
        find: "impl<P: Platform, B: DmaMemory, D: Direction> IovaSpan<P, B, D, Unlinked> {
        pub fn free(self) { self.into_parts().reserved.free(); }",
        replace: "impl<P: Platform, B: DmaMemory, D: Direction, S: SpanState> IovaSpan<P, B, D, S> {
            /// Gives the addresses back.
            pub fn free(self) { self.into_parts().reserved.free(); }
        }
        impl<P: Platform, B: DmaMemory, D: Direction> IovaSpan<P, B, D, Unlinked> {",
        why: "others are given addresses at which the device still reaches this memory",
        caught_by: &[misuse("freeing_a_span_that_is_linked")],
    },
    Mutation {
        name: "span-states-not-sealed",
        selection: Selection::Whole,
        file: "dmamap/src/map/iova_span/state.rs",
        find: "pub trait SpanState: sealed::Sealed {}",
        replace: "pub trait SpanState {}",
        why: "a span is in a state of which nobody knows what may be done",
        caught_by: &[misuse("inventing_a_state_of_a_span")],
    },
    Mutation {
        name: "published-entries-written-past-their-flag",
        selection: Selection::Whole,
        file: PUBLISH,
        find: "impl<M: fmt::Debug, D: Published> fmt::Debug for Descriptors<M, D> {",
        replace: "impl<M, D: Published> Deref for Descriptors<M, D> {
            type Target = M;
            fn deref(&self) -> &M { &self.memory }
        }
        impl<M: fmt::Debug, D: Published> fmt::Debug for Descriptors<M, D> {",
        why: "an entry is changed while the device fetches it",
        caught_by: &[misuse("writing_an_entry_that_is_published")],
    },
    Mutation {
        name: "device-trusted-by-safe-code",
        selection: Selection::Whole,
        file: "dmamap/src/system/attach.rs",
        find: "pub unsafe fn attach_trusted(",
        replace: "pub fn attach_trusted(",
        why: "nobody promises that a device that reaches all memory has finished before its memory is used again",
        caught_by: &[misuse("trusting_a_device_safely")],
    },
    Mutation {
        name: "device-handle-can-be-cloned",
        selection: Selection::Whole,
        file: "dmamap/src/device.rs",
        find: "impl<P: Platform> Drop for Device<P> {",
        replace: "impl<P: Platform> Clone for Device<P> {
            fn clone(&self) -> Self { Self { core: self.core } }
        }
        impl<P: Platform> Drop for Device<P> {",
        why: "raw mappings are unmapped when their table is gone: their copies are not found",
        caught_by: &[misuse("a_second_handle_of_a_device")],
    },
];
