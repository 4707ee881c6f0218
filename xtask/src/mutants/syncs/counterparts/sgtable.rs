
#[allow(missing_docs)]
impl<P: Platform, B: DmaMemory, D: Direction> SgTableMapping<P, B, D> {
    pub fn sync_range_for_cpu_unsynced(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<ListView<'_, P, B, D>, OutOfBounds> {
        let (live, list) = self.parts.as_mut().expect("it is mapped");
        ListView::unsynced(live.syncs(), list, offset, len_bytes)
    }
}
