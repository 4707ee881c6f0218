
#[allow(missing_docs)]
impl<P, M, D> Descriptors<M, D>
where
    P: Platform,
    M: Deref<Target = Elements<P, D::Entry>>,
    D: Published,
{
    pub fn publish_unordered(&self, index: usize, entry: D::Entry) -> Result<(), OutOfBounds> {
        self.memory.write(index, entry)
    }

    pub fn consume_unordered(
        &self,
        index: usize,
        is_ours: impl FnOnce(D::Flag) -> bool,
    ) -> Result<Option<D::Entry>, OutOfBounds> {
        let flag = self.flag(index)?;
        let entry = self.memory.read(index)?;
        Ok(is_ours(flag).then_some(entry))
    }

    pub fn publish_flag_unordered(&self, index: usize, flag: D::Flag) -> Result<(), OutOfBounds> {
        let at = self.offset(index)?;
        self.memory.write_at(at + D::FLAG_OFFSET as u64, flag)
    }
}
