//! Methods of a wrapping platform that go straight to the platform inside.

/// Writes the named methods of [`Platform`](dmamap::platform::Platform) for a wrapper whose field `inner` is
/// a platform.
macro_rules! forward {
    ($($method:ident)+) => { $(forward!(@ $method);)+ };
    (@ memory_map) => {
        fn memory_map(&self, visit: &mut dyn FnMut(PhysRange)) {
            self.inner.memory_map(visit);
        }
    };
    (@ allocate_frames) => {
        fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
            self.inner.allocate_frames(request)
        }
    };
    (@ map_scattered) => {
        unsafe fn map_scattered(
            &self,
            frames: &[PhysAddr],
        ) -> Result<NonNull<u8>, VirtualMapError> {
            // SAFETY: the caller's promise is this one's.
            unsafe { self.inner.map_scattered(frames) }
        }
    };
    (@ map_frames) => {
        unsafe fn map_frames(
            &self,
            frames: PhysRange,
            attribute: MemoryAttribute,
        ) -> Result<NonNull<u8>, VirtualMapError> {
            // SAFETY: the caller's promise is this one's.
            unsafe { self.inner.map_frames(frames, attribute) }
        }
    };
    (@ ioremap) => {
        unsafe fn ioremap(
            &self,
            range: PhysRange,
            attribute: MemoryAttribute,
        ) -> Result<NonNull<u8>, VirtualMapError> {
            // SAFETY: the caller's promise is this one's.
            unsafe { self.inner.ioremap(range, attribute) }
        }
    };
    (@ allocate_interrupt) => {
        fn allocate_interrupt(
            &self,
            handler: Option<InterruptHandler>,
        ) -> Result<Interrupt, OutOfInterrupts> {
            self.inner.allocate_interrupt(handler)
        }
    };
    (@ free_frames) => {
        unsafe fn free_frames(&self, frames: PhysRange) {
            // SAFETY: the caller's promise is this one's.
            unsafe { self.inner.free_frames(frames) }
        }
    };
    (@ frame_pointer) => {
        fn frame_pointer(&self, phys: PhysAddr) -> NonNull<u8> {
            self.inner.frame_pointer(phys)
        }
    };
    (@ unmap_scattered) => {
        unsafe fn unmap_scattered(&self, start: NonNull<u8>, frames: usize) {
            // SAFETY: the caller's promise is this one's.
            unsafe { self.inner.unmap_scattered(start, frames) }
        }
    };
    (@ unmap_frames) => {
        unsafe fn unmap_frames(&self, start: NonNull<u8>, len_bytes: u64) {
            // SAFETY: the caller's promise is this one's.
            unsafe { self.inner.unmap_frames(start, len_bytes) }
        }
    };
    (@ virt_to_phys) => {
        fn virt_to_phys(&self, virt: VirtAddr) -> Option<PhysAddr> {
            self.inner.virt_to_phys(virt)
        }
    };
    (@ iounmap) => {
        unsafe fn iounmap(&self, start: NonNull<u8>, len_bytes: u64) {
            // SAFETY: the caller's promise is this one's.
            unsafe { self.inner.iounmap(start, len_bytes) }
        }
    };
    (@ barriers) => {
        fn dma_wmb(&self) {
            self.inner.dma_wmb();
        }
        fn dma_rmb(&self) {
            self.inner.dma_rmb();
        }
        fn dma_mb(&self) {
            self.inner.dma_mb();
        }
    };
    (@ cache_maintenance) => {
        fn clean_cache(&self, start: NonNull<u8>, len_bytes: usize) {
            self.inner.clean_cache(start, len_bytes);
        }
        fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: usize) {
            self.inner.invalidate_cache(start, len_bytes);
        }
    };
    (@ cpus_and_time) => {
        fn machine(&self) -> MachineId {
            self.inner.machine()
        }
        fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
            self.inner.pin(f)
        }
        fn cpu_count(&self) -> usize {
            self.inner.cpu_count()
        }
        fn fences_cpus(&self) -> bool {
            self.inner.fences_cpus()
        }
        fn fence_cpus(&self) {
            self.inner.fence_cpus();
        }
        fn relax(&self) {
            self.inner.relax();
        }
        fn now_ns(&self) -> u64 {
            self.inner.now_ns()
        }
        fn call_at(&self, deadline_ns: u64, handler: InterruptHandler) {
            self.inner.call_at(deadline_ns, handler);
        }
        fn fatal(&self, message: &str) -> ! {
            self.inner.fatal(message)
        }
    };
    (@ free_interrupt) => {
        fn free_interrupt(&self, interrupt: Interrupt) {
            self.inner.free_interrupt(interrupt);
        }
    };
    (@ interrupt_arrivals) => {
        fn message_window(&self) -> Option<PhysRange> {
            self.inner.message_window()
        }
        fn interrupt_count(&self, interrupt: Interrupt) -> u64 {
            self.inner.interrupt_count(interrupt)
        }
        fn wait_for_interrupt(&self, interrupt: Interrupt, seen: u64, deadline_ns: u64) -> u64 {
            self.inner.wait_for_interrupt(interrupt, seen, deadline_ns)
        }
    };
}

pub(crate) use forward;
