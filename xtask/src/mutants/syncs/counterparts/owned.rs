
#[allow(dead_code)]
impl<P: Platform, B: DmaMemory, D: Direction> Owned<P, B, D> {
    pub(super) fn sync_for_cpu_unsynced(&mut self) -> CpuView<'_, P, D> {
        let len_bytes = self.buffer().len_bytes();
        let (live, buffer) = self.parts_mut();
        CpuView::unsynced(live, buffer, 0, len_bytes).expect("the whole is inside")
    }

    pub(super) fn sync_range_for_cpu_unsynced(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        let (live, buffer) = self.parts_mut();
        CpuView::unsynced(live, buffer, offset, len_bytes)
    }
}
