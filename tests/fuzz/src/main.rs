//! The fuzz targets as a program: under libFuzzer where `--cfg fuzzing` is given, else once for each file.

#![cfg_attr(fuzzing, no_main)]

/// Names the target.
#[cfg(fuzzing)]
const VARIABLE: &str = "HAUL_FUZZ_TARGET";

#[cfg(fuzzing)]
static TARGET: std::sync::LazyLock<haul_fuzz::Target> =
    std::sync::LazyLock::new(|| haul_fuzz::target(&std::env::var(VARIABLE).expect(VARIABLE)));

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.run)(data);
});

/// `haul-fuzz TARGET FILE...`: for a debugger.
#[cfg(not(fuzzing))]
fn main() {
    let mut args = std::env::args().skip(1);
    let target = haul_fuzz::target(&args.next().expect("usage: haul-fuzz TARGET FILE..."));
    for file in args {
        (target.run)(&std::fs::read(&file).unwrap_or_else(|why| panic!("{file}: {why}")));
    }
}
