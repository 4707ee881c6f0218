use dmamap::map::SpanState;

struct Usable;

impl SpanState for Usable {}

fn main() {}
