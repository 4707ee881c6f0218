//! The time that the paths take whose instructions are counted: `cargo bench -p counts`, or `cargo bench -p counts -- iova`.

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let walked = counts::loads::each("", &mut |name, round| {
        criterion.bench_function(name, |bencher| bencher.iter(&mut *round));
    });
    if let Err(error) = walked {
        panic!("{error}");
    }
    criterion.final_summary();
}
