
impl<'a, P: Platform, B: DmaMemory, D: Direction> ListView<'a, P, B, D> {
    pub(super) fn unsynced(
        syncs: ListSyncs<'a, P>,
        list: &'a mut ScatterList<B>,
        offset: u64,
        len_bytes: u64,
    ) -> Result<Self, OutOfBounds> {
        OutOfBounds::check(syncs.device(), offset, len_bytes, list.len_bytes())?;
        Ok(Self {
            syncs,
            list,
            offset,
            len_bytes,
            direction: PhantomData,
        })
    }
}
