//! The time that the paths take whose instructions are counted: `cargo bench -p counts`, or `cargo bench -p counts -- iova`.

use criterion::{Criterion, criterion_group, criterion_main};

fn parts(criterion: &mut Criterion) {
    let walked = counts::loads::each("", &mut |name, round| {
        criterion.bench_function(name, |bencher| bencher.iter(&mut *round));
    });
    if let Err(error) = walked {
        panic!("{error}");
    }
}

criterion_group!(benches, parts);
criterion_main!(benches);
