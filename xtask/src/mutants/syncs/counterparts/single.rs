
#[allow(missing_docs)]
impl<P: Platform, B: DmaMemory, D: Direction> Mapping<P, B, D> {
    pub fn sync_for_cpu_unsynced(&mut self) -> CpuView<'_, P, D> {
        self.owned.sync_for_cpu_unsynced()
    }

    pub fn sync_range_for_cpu_unsynced(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        self.owned.sync_range_for_cpu_unsynced(offset, len_bytes)
    }
}
