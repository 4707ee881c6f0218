
impl<'a, P: Platform, D: Direction> CpuView<'a, P, D> {
    pub(crate) fn unsynced<B: DmaMemory>(
        live: &'a mut Live<P>,
        buffer: &'a mut B,
        start: u64,
        len_bytes: u64,
    ) -> Result<Self, OutOfBounds> {
        OutOfBounds::check(live.device(), start, len_bytes, buffer.len_bytes())?;
        Ok(Self {
            live,
            buffer: buffer.pointer(),
            start,
            len_bytes,
            direction: PhantomData,
        })
    }
}
